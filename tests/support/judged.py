"""Forty sums with four responses each: right, abstaining, wrong, and empty because cut off."""

from hneurons.core.types import Question, Response

QUESTIONS = [Question(f"q{n}", f"What is {n} plus {n}?", (str(2 * n),)) for n in range(40)]
RESPONSES = [
    Response(q.id, s, text, finish_reason="length" if s == 2 else "stop")
    for n, q in enumerate(QUESTIONS)
    for s, text in enumerate((f"It is {2 * n}.", "I don't know.", f"{2 * n + 1}", ""))
]
