"""Whatever a model says, however long and strange, is read in well under a second."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hneurons.answers.judges.abstention import abstains
from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.judges.asking import parse_verdict
from hneurons.answers.judges.choices import read_choice
from hneurons.answers.judges.normalize import tokenize
from hneurons.answers.judges.rubric import parse_grade
from hneurons.answers.spans import find_answer
from hneurons.benchmarks.falseqa import corrects_premise
from hneurons.benchmarks.jailbreak import refuses
from hneurons.benchmarks.sycophancy import read_final
from hneurons.core.types import Question

pytestmark = pytest.mark.slow

CHOICES = {"A": "Paris", "B": "Rome (Italy)", "C": "12"}
QUESTION = Question("q", "What is the capital of France?", ("Paris", "the city of Paris"))
READERS: dict[str, Callable[[str], object]] = {
    "corrects_premise": corrects_premise,
    "refuses": refuses,
    "read_final": lambda text: read_final(text, CHOICES),
    "read_choice": lambda text: read_choice(text, CHOICES),
    "judge_alias": lambda text: judge_alias(QUESTION, text),
    "abstains": lambda text: abstains(tokenize(text)),
    "find_answer": lambda text: find_answer(text, question=QUESTION.text),
    "parse_verdict": lambda text: parse_verdict(text, ("CORRECT", "INCORRECT")),
    "parse_grade": lambda text: parse_grade(text, "a response"),
}
UNITS = (
    *"- \n\ta1A().!?'\"*_,;:[{é—#`/\\|<&$%@~^=+0东",
    ". ", "a ", "A. ", "no ", "the ", "(A) ", "1. ", "- ", "* ", "\n\n", "'s ", "-a", "is ", "A B ", "is: ", "I ",
    "answer is ", "not ", "has no ", "there is ", "[INSERT", "because ", "Paris ", "Paris and ", "I think ", "Dr. ",
    "The answer is ", "12,", "1.", "one hundred and ", "<think>", "x\u0301", "\u200b", "{\"a\": ", "[[", "```",
    "VERDICT: ",
)  # fmt: skip


@contextmanager
def at_most(seconds: float, what: str) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"{what} took more than {seconds} s")

    # The processor's time, so that a busy machine fails no test.
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def slow_readings(reader: str, length: int, seconds: float, *, tails: tuple[str, ...]) -> list[str]:
    """What takes longer, of replies that repeat one thing."""
    slow = []
    for unit in UNITS:
        for tail in tails:
            try:
                with at_most(seconds, f"{reader} of {unit!r} repeated, then {tail!r},"):
                    READERS[reader]((unit * length)[:length] + tail)
            except AssertionError as error:
                slow.append(str(error))
    return slow


@pytest.mark.parametrize("reader", READERS)
def test_a_reply_of_one_thing_repeated_is_read_at_once(reader: str) -> None:
    assert not slow_readings(reader, 10_000, 0.5, tails=("", "Paris"))


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_reply_of_60_000_characters_is_read_in_its_length(reader: str) -> None:
    """What takes time with the square of the length, and 4 s for 100,000 characters, is too slow here."""
    assert not slow_readings(reader, 60_000, 1.4, tails=("Paris",))


def test_number_words_without_end_are_no_number() -> None:
    for text in ("one hundred and " * 200, "hundred " * 200, "9" * 400 + " million", "million " * 60 + "first"):
        tokenize(text)
