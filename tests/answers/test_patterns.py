"""Every pattern that reads what a model wrote ends in time on hostile text."""

import importlib
import pkgutil
import re
import time

import pytest

import hneurons.answers
from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.judges.choices import read_choice
from hneurons.answers.judges.normalize import tokenize
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.answers.judges.refusals import refuses
from hneurons.answers.spans import find_answer
from hneurons.core.types import Question

LENGTH = 60_000
PIECES = [
    "-", " ", "a", "A ", "1", "1,", "1.", "(", "[", "<", "<think>", "\n", ". ", ", ", "not ", "i ", "the ", "is ",
    "by ", "I think ", "sure! ", "it is not ", "of ", "“", "\"", "'", "a-", "A. ", "1) ", "in a, ", "answer ",
    "answer is ", "no, ", "many ", "\\boxed{", "a_", "\t", "é", "的", "ក", "ි", "analysis", "assistantfinal",
    "<|channel|>", "as an ai ", "one ", "million ",
]  # fmt: skip


def patterns():
    found = {}
    for module in pkgutil.walk_packages(hneurons.answers.__path__, "hneurons.answers."):
        for name, value in vars(importlib.import_module(module.name)).items():
            for n, pattern in enumerate(value if isinstance(value, tuple) else (value,)):
                if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
                    found.setdefault(pattern, f"{module.name}.{name}.{n}")
    return [pytest.param(pattern, id=name) for pattern, name in found.items()]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", patterns())
def test_a_pattern_takes_less_than_a_second_for_a_hundred_thousand_characters(pattern):
    """Sixty thousand of them, in proportion; what grows with the square of the length is allowed 1.7 s for 100,000."""
    for piece in PIECES:
        text = (piece * (LENGTH // len(piece) + 1))[:LENGTH] + "!"
        start = time.process_time()
        sum(1 for _ in pattern.finditer(text))
        assert time.process_time() - start < 0.6, piece


READERS = {
    "judge": lambda text: judge_alias(Question("q", "Who is the king of France?", ("Louis XVI", "The King")), text),
    "finder": lambda text: find_answer(text, question="Who is the king of France?"),
    "choices": lambda text: read_choice(text, {"A": "one", "B": "two"}),
    "tokens": tokenize,
    "reasoning": cut_reasoning,
    "refusals": refuses,
}


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_takes_few_seconds_for_a_hundred_thousand_characters(reader):
    for piece in PIECES:
        start = time.process_time()
        READERS[reader]((piece * (LENGTH // len(piece) + 1))[:LENGTH])
        assert time.process_time() - start < 0.9, piece
