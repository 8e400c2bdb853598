"""The benchmark whose accuracy helps to choose the penalty, without the questions that a run tests on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.types import Question

if TYPE_CHECKING:
    from hneurons.benchmarks.benchmark import Benchmark, Item


class Ability(NamedTuple):
    """A benchmark that shows an ability, and items of it."""

    benchmark: "Benchmark"
    items: "list[Item]"


def load_ability(spec: str, *, seed: int = 0) -> Ability:
    """The benchmark NAME or NAME:FILE. Raises `InputError` where it cannot be had or shows no ability."""
    from hneurons.benchmarks import load_items

    benchmark, items = load_items(spec, seed=seed)
    if not benchmark.shows_ability:
        raise InputError(
            f"the benchmark of --capability should show an ability, such as triviaqa or facts; '{spec}' does not"
        )
    return Ability(benchmark, items)


def ability_items(spec: str, tested: Sequence[Question], limit: int | None, *, seed: int = 0) -> Ability:
    """The first `limit` items of a benchmark that ask none of the `tested` questions and none of their facts.

    Raises `InputError` as `load_ability` does, and `NotEnoughDataError` where no item is left.
    """
    from hneurons.answers.questions import question_key

    benchmark, items = load_ability(spec, seed=seed)
    texts, facts = {question_key(q.text) for q in tested}, {q.group for q in tested}
    kept = [
        item
        for item in items
        if item.question is None or not (question_key(item.question.text) in texts or item.question.group in facts)
    ][:limit]
    if not kept:
        raise NotEnoughDataError(f"all questions of {spec} are in the run's test sets: give a file with others")
    return Ability(benchmark, kept)
