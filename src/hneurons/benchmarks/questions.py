"""Benchmarks that are question sets: made-up answers about things that do not exist, and what ability costs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from hneurons.answers.questions import load_questions
from hneurons.benchmarks.benchmark import BENCHMARKS, Benchmark, Item, unscored
from hneurons.benchmarks.judged import JudgedBenchmark
from hneurons.core.seeds import derive_seed
from hneurons.core.types import Response, Verdict
from hneurons.models.endpoint import Endpoint
from hneurons.models.prompts import SHORT_ANSWER
from hneurons.records.record import Record


class QuestionBenchmark(JudgedBenchmark):
    """Questions judged as in `label`: by known answers, or by a model at an endpoint."""

    version = 3
    outcomes: ClassVar[dict[Verdict, float]]

    def grade_all(self, cells: Sequence[tuple[Item, Record, Sequence[str]]], endpoint: Endpoint | None) -> list[Record]:
        """Grade by the registered judge `alias`, or `llm` where there is an endpoint."""
        pairs = [
            (item.question, Response(item.id, 0, replies[-1]))
            for item, record, replies in cells
            if item.question is not None
        ]
        judged = self.judge(pairs, endpoint)
        return [
            self._outcome(replace(record, judge=j.verdict, aliases=item.question.answers or None), j.verdict, j.reason)
            for (item, record, _), j in zip(cells, judged, strict=True)
            if item.question is not None
        ]

    def _outcome(self, record: Record, verdict: Verdict, reason: str) -> Record:
        if verdict not in self.outcomes:
            return unscored(record, reason)
        return replace(record, outcome=self.outcomes[verdict])


@BENCHMARKS.register("nonexist")
class NonExist(QuestionBenchmark):
    """Questions about things that do not exist: is an answer made up? (files: as the question set 'nec')"""

    outcome = "confident answer about something invented"
    outcomes: ClassVar[dict[Verdict, float]] = {"incorrect": 1.0, "abstained": 0.0}

    def known_error(self, endpoint: Endpoint | None) -> str:
        """Not known: no one has judged answers about what does not exist."""
        judge = "alias" if endpoint is None else "llm"
        return f"The error of the judge '{judge}' has not been measured on questions about something invented."

    def read(self, files: Sequence[Path]) -> Iterator[Item]:
        """UnknownBench NEC files, or the built-in set 'invented'; only what does not exist."""
        for question in load_questions(_spec("nec" if files else "invented", files)):
            if not question.answerable:
                yield Item(question.id, (question.text,), question=question)


@BENCHMARKS.register("triviaqa")
class TriviaQA(QuestionBenchmark):
    """TriviaQA: what scaling costs in ability (correct answers)."""

    outcome = "correct answer"
    max_new_tokens = 50
    shows_ability = True
    outcomes: ClassVar[dict[Verdict, float]] = {"correct": 1.0, "incorrect": 0.0, "abstained": 0.0}
    source: ClassVar[str] = "triviaqa"

    def read(self, files: Sequence[Path]) -> Iterator[Item]:
        """Rows as the question set of the same name; from the hub without a file."""
        for question in load_questions(_spec(self.source, files)):
            if question.answers:
                yield Item(question.id, (f"{question.text} {SHORT_ANSWER}",), question=question)


@BENCHMARKS.register("copying")
class Copying(Benchmark):
    """Inert control: copy a number.

    It needs no knowledge and no stance, so it moves only where scaling breaks the model.
    """

    outcome = "number copied"
    shows_ability = True
    rule = "exact number"
    max_new_tokens = 24
    count: ClassVar[int] = 500

    def read(self, files: Sequence[Path]) -> Iterator[Item]:
        """Built in: numbers of six digits."""
        for place in range(self.count):
            number = str(100_000 + derive_seed("copying", place) % 900_000)
            yield Item(f"copying:{place}", (f"Write the number {number} and nothing else.",), key=number)

    def grade(self, item: Item, record: Record, replies: Sequence[str]) -> Record:
        """Whether the number stands in the reply as a number of its own."""
        copied = re.search(rf"(?<!\d){item.key}(?!\d)", replies[-1].replace(",", "")) is not None
        return replace(record, outcome=float(copied))


@BENCHMARKS.register("facts")
class Facts(TriviaQA):
    """Built-in factual questions: what scaling costs in ability, without any file."""

    source = "facts"


def _spec(name: str, files: Sequence[Path]) -> str:
    return f"{name}:{','.join(map(str, files))}" if files else name
