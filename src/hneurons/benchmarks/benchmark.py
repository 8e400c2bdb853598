"""What a benchmark is: items read from a file, prompts, decoding, and how a reply is graded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from hneurons.answers.judges.asking import Asking, ask_judge, parse_verdict
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.core.errors import InputError
from hneurons.core.registry import Registry
from hneurons.core.types import Question
from hneurons.models.endpoint import Endpoint
from hneurons.records.record import Record

TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to ask. `turns` alternate between user and model and end with the user's; most have one.

    key, choices: the option that counts as the behaviour, and all options by label; question: what a judge of answers
    needs to know; group: items that are not independent.
    """

    id: str
    turns: tuple[str, ...]
    key: str | None = None
    choices: dict[str, str] | None = None
    question: Question | None = None
    group: str | None = None


class Benchmark:
    """A benchmark, registered by name as a class; the docstring's first line is shown to users.

    `outcome` says what outcome = 1 means; `version` changes whenever prompts or grades may. Decoding is greedy where
    `temperature` is 0. `stores_text` is False where replies may be harmful: then only digest and length are kept.
    With `scores_text` nothing is generated: the item's text itself is scored token by token.
    With `first_turn_unscaled` the first reply is the plain model's, so that all conditions go on from the same one.
    """

    outcome: ClassVar[str]
    version: ClassVar[int] = 1
    temperature: ClassVar[float] = 0.0
    top_k: ClassVar[int] = 1
    top_p: ClassVar[float] = 1.0
    max_new_tokens: ClassVar[int] = 256
    stores_text: ClassVar[bool] = True
    scores_text: ClassVar[bool] = False
    first_turn_unscaled: ClassVar[bool] = False
    shows_ability: ClassVar[bool] = False
    """Whether outcome = 1 is what the model should be able to do, rather than something it should not do."""
    rule: ClassVar[str] = "rule"
    """Name of the judge that needs no model."""
    verdicts: ClassVar[dict[str, float]] = {}
    """The words an LLM judge may answer with, and their outcomes; empty where the rule decides alone."""

    def read(self, files: Sequence[Path]) -> Iterable[Item]:
        """The items of some files (or built-in ones without files)."""
        raise NotImplementedError

    def next_turn(self, item: Item, replies: Sequence[str]) -> str | None:
        """What the user says after these replies; None ends the conversation."""
        return None

    def grade(self, item: Item, record: Record, replies: Sequence[str]) -> Record:
        """The record of the last reply with outcome (None = unscored, with the reason in `error`) and judge."""
        raise NotImplementedError

    def judge_prompt(self, item: Item, reply: str) -> str:
        """What an LLM judge is asked; it must end with a line VERDICT: and one of `verdicts`."""
        raise NotImplementedError

    def judge_name(self, endpoint: Endpoint | None) -> str:
        """Who grades."""
        return f"llm: {endpoint.model}" if endpoint is not None and self.verdicts else self.rule

    def judge_inputs(self, endpoint: Endpoint | None) -> dict[str, str]:
        """What else decides the grades, by name; a run with other values is another run."""
        return {}

    def known_error(self, endpoint: Endpoint | None) -> str:
        """A sentence about how often the judge is wrong; empty where nothing is known of it."""
        return ""

    def grade_all(self, cells: Sequence[tuple[Item, Record, Sequence[str]]], endpoint: Endpoint | None) -> list[Record]:
        """Grade in order: by the endpoint's model where there is one and the benchmark knows how, else by rule."""
        if endpoint is None or not self.verdicts:
            return [self.grade(item, record, replies) for item, record, replies in cells]
        return judge_records(self, cells, endpoint)


BENCHMARKS: Registry[type[Benchmark]] = Registry("benchmark", base=Benchmark)


def grade_replies(
    benchmark: Benchmark, cells: Sequence[tuple[Item, Record, Sequence[str]]], endpoint: Endpoint | None
) -> list[Record]:
    """Grade what follows the reasoning of each reply.

    A reply that was cut off is graded by what stands in it, whichever outcome that gives. Rates are then of the first
    tokens, and no outcome loses more replies than the other. Reasoning that never ended holds no reply: unscored.
    """
    answers = [[cut_reasoning(reply) for reply in replies] for _, _, replies in cells]
    whole = [n for n, said in enumerate(answers) if said[-1].whole]
    found = [replace(record, outcome=None, error=TRUNCATED) for _, record, _ in cells]
    read = [(cells[n][0], cells[n][1], [answer.text for answer in answers[n]]) for n in whole]
    for n, record in zip(whole, benchmark.grade_all(read, endpoint), strict=True):
        found[n] = record
    return found


def judge_records(
    benchmark: Benchmark, cells: Sequence[tuple[Item, Record, Sequence[str]]], endpoint: Endpoint
) -> list[Record]:
    """Grade by a model. An empty reply and a verdict that stays unreadable are unscored. Raises `EndpointError`."""
    forms = "\n".join(f"VERDICT: {word}" for word in benchmark.verdicts)
    ending = f"First give your reason in one sentence. Then write the verdict on a line of its own, as one of\n{forms}"
    read = partial(parse_verdict, words=benchmark.verdicts)
    prompts = {n: benchmark.judge_prompt(item, said[-1]) for n, (item, _, said) in enumerate(cells) if said[-1].strip()}
    asked = [Asking((("user", f"{prompt}\n{ending}"),), read) for prompt in prompts.values()]
    found = [replace(record, error="empty reply", judge="") for _, record, _ in cells]
    for n, said in zip(prompts, ask_judge(asked, endpoint), strict=True):
        record = cells[n][1]
        if said.read is None:
            found[n] = replace(record, error="unreadable verdict", judge="")
        else:
            found[n] = replace(record, outcome=benchmark.verdicts[said.read], judge=said.read)
    return found


def unscored(record: Record, reason: str) -> Record:
    """The record without outcome: cut off where it was, else for the reason given."""
    return replace(record, outcome=None, error=TRUNCATED if record.finish_reason == "length" else reason)


def demand_files(name: str, files: Sequence[Path], what: str) -> None:
    """Raise `InputError` where a benchmark without built-in items is given no file."""
    if not files:
        raise InputError(f"'{name}' needs a file: give it as {name}:FILE, {what}")
