"""Stage `scores`: answers -> the value of every rival score, kept beside the dataset and read by `evaluate`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hneurons.answers.meanings import STRINGS
from hneurons.core.artifacts import Manifest, RowStore, load_rows
from hneurons.core.errors import InputError
from hneurons.core.files import stored_errors
from hneurons.core.progress import progress
from hneurons.core.showing import data_frame, html_table, one_line
from hneurons.core.timing import Clock, Spent, read_timing
from hneurons.core.types import identify
from hneurons.core.wording import count, number
from hneurons.detection.answer_rows import AnswerRows, Dataset, Decided, answer_rows, check_both_classes, check_unseen
from hneurons.detection.scores.score import NEEDS, SCORES, Cost, Need, Score

if TYPE_CHECKING:
    from pandas import DataFrame

STAGE = "scores"


@dataclass(frozen=True, slots=True)
class Scored:
    """One score's values: `values` follow the ids of the `Scores` that hold it, higher meaning more likely made up.

    An answer is called made up above `threshold`. `work` are the kinds of timed work whose results it reads.
    """

    method: str
    needs: Need
    fitted: bool
    cost: Cost
    threshold: float
    values: tuple[float, ...]
    work: tuple[str, ...] = ()

    @property
    def decided(self) -> Decided:
        return Decided(np.array(self.values), self.threshold)


@dataclass(frozen=True)
class Scores:
    """Example id -> method -> value, on the located answers of one dataset.

    `left_out`: the scores that could not be computed, with what was lacking. `content` identifies
    what was scored and by which versions, not the last digits of the values, which depend on the number of threads.
    `meanings`: who said which samples mean the same, and by which rule. `spent`: what computing each score took.
    """

    ids: tuple[str, ...]
    methods: tuple[Scored, ...]
    left_out: dict[str, str]
    content: str
    meanings: str = STRINGS
    spent: dict[str, Spent] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        left_out = f"{len(self.left_out)} left out" if self.left_out else ""
        return one_line(self, f"{count(len(self.methods), 'method')} on {count(len(self.ids), 'answer')}", left_out)

    def _repr_html_(self) -> str:
        made = [(one.method, one.needs, number(one.threshold), *_ends(one.values)) for one in self.methods]
        lacking = [(name, f"left out: {why}", "", "", "") for name, why in self.left_out.items()]
        head = ("score", "needs", "threshold", "lowest", "highest")
        return html_table(f"Scores of {count(len(self.ids), 'answer')}", head, [*made, *lacking])

    def to_pandas(self) -> "DataFrame":
        """One row an answer (its id is the index), one column a method. Needs the extra `pandas`."""
        return data_frame({"id": self.ids, **{one.method: one.values for one in self.methods}}, index="id")

    def of(self, example: str) -> dict[str, float]:
        """The values of one example by method. Raises `KeyError` for an unknown id."""
        if example not in self.ids:
            raise KeyError(example)
        place = self.ids.index(example)
        return {scored.method: scored.values[place] for scored in self.methods}


def score_rows(train: AnswerRows, test: AnswerRows) -> tuple[list[Scored], dict[str, str]]:
    """Every registered score on `test`, and why others are left out; what is fitted is fitted on `train`."""
    computable, left_out = _choose(train, test)
    return [_score(name, score, train, test) for name, score in computable.items()], left_out


def score_answers(train: Dataset, test: Dataset, *, name: str = "test", out: Path | None = None) -> Scores:
    """Every registered score on the located answers of `test`; what is fitted is fitted on those of `train`.

    Scores that lack something (log-probabilities, where an endpoint gives none) are left out by name. Resumable with
    `out`, score by score; values of other inputs or versions that lie there are replaced.

    Raises `InputError` where a test question was trained on, `NotEnoughDataError` for a training set of one class or a
    test set without located answers. `name` stands for the test set in these messages.
    """
    known, rows = answer_rows(train, "train"), answer_rows(test, name)
    check_both_classes(known, "train")
    check_unseen(known, rows, name)
    computable, left_out = _choose(known, rows)
    settings: dict[str, Any] = {"versions": {method: score.version for method, score in computable.items()}}
    inputs = {"train": train.contributions.content, "test": test.contributions.content}
    for name, states in (("train states", known.states), ("test states", rows.states)):
        inputs |= {} if states is None else {name: states.content}
    for name, opinions in (("train opinions", train.opinions), ("test opinions", test.opinions)):
        inputs |= {} if opinions is None else {name: opinions.content}
    if any(score.needs == "samples" for score in computable.values()):
        by = test.meanings
        if by.judge != STRINGS:
            settings["meanings"] = by.name
            inputs |= {"train meanings": train.meanings.identity, "test meanings": by.identity}
        inputs |= {"train samples": identify(train.responses), "test samples": identify(test.responses)}
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(computable), replace=True)
    if not store.complete:
        clock = Clock(out, done=store.done)
        import_module("sklearn.linear_model")  # now, so that loading it counts for no score
        with progress("scores", len(computable), done=store.done) as advance:
            for method, score in list(computable.items())[store.done :]:
                with clock.time(method, len(rows.examples)):
                    row = _to_row(_score(method, score, known, rows), rows)
                store.commit([row])
                clock.save()
                advance()
        store.finish({"answers": len(rows.examples), "scores": list(computable), "left_out": left_out})
    spent = {} if out is None else read_timing(out)
    return _read(store.rows, store.manifest, spent)


def load_scores(folder: Path) -> Scores:
    """Read a finished `scores` folder. Raises `InputError` for another one, `ArtifactError` for a damaged one."""
    manifest, rows = load_rows(folder, stage=STAGE)
    with stored_errors(folder):
        return _read(rows, manifest, read_timing(folder))


def check_scores(scores: Scores, rows: AnswerRows, name: str) -> None:
    """Raise `InputError` where scores are of other answers than `rows`."""
    if list(scores.ids) != [e.id for e in rows.examples]:
        raise InputError(f"the scores of '{name}' are of other answers: run 'scores' again")


def known_scores() -> Iterator[tuple[str, type[Score]]]:
    """All registered scores, those with the cheapest needs first."""
    return iter(sorted(((name, SCORES.get(name)) for name in SCORES), key=lambda s: (NEEDS.index(s[1].needs), s[0])))


def _choose(train: AnswerRows, test: AnswerRows) -> tuple[dict[str, Score], dict[str, str]]:
    computable, left_out = dict[str, Score](), dict[str, str]()
    for name, kind in known_scores():
        score = kind()
        lacking = score.lacks_to_learn(train) or score.lacks(test)
        if lacking:
            left_out[name] = lacking
        else:
            computable[name] = score
    return computable, left_out


def _score(name: str, score: Score, train: AnswerRows, test: AnswerRows) -> Scored:
    decided = score.decide(train, test)
    values = np.asarray(decided.values, dtype=np.float64)
    if values.shape != test.labels.shape or not np.isfinite(values).all():
        raise InputError(
            f"the score '{name}' gave values of shape {list(values.shape)} for {len(test.labels)} answers, or values "
            "that are not finite: repair it, or uninstall the package it comes from"
        )
    return Scored(
        name,
        score.needs,
        score.fitted,
        score.cost,
        float(decided.threshold),
        tuple(values.tolist()),
        score.work_on(test),
    )


def _to_row(scored: Scored, rows: AnswerRows) -> dict[str, Any]:
    values = dict(zip((e.id for e in rows.examples), scored.values, strict=True))
    return {
        "method": scored.method,
        "needs": scored.needs,
        "fitted": scored.fitted,
        "cost": scored.cost._asdict(),
        "threshold": scored.threshold,
        "work": scored.work,
        "values": values,
    }


def _ends(values: tuple[float, ...]) -> tuple[str, str]:
    return number(min(values, default=math.nan)), number(max(values, default=math.nan))


def _read(rows: list[dict[str, Any]], manifest: Manifest, spent: dict[str, Spent]) -> Scores:
    methods = [
        Scored(
            row["method"],
            row["needs"],
            row["fitted"],
            Cost(**row["cost"]),
            row["threshold"],
            tuple(row["values"].values()),
            tuple(row.get("work", ())),
        )
        for row in rows
    ]
    ids = tuple(rows[0]["values"]) if rows else ()
    meanings = str(manifest.settings.get("meanings", STRINGS))
    return Scores(ids, tuple(methods), dict(manifest.summary["left_out"]), manifest.fingerprint, meanings, spent)
