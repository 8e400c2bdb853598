"""Labelled answers as they were drawn, with a detector's log odds: what calibration and guarantees are made from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import NotEnoughDataError
from hneurons.core.rows import Row
from hneurons.core.showing import one_line
from hneurons.core.wording import count

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledScore(Row):
    """One answer: its question's group, the detector's log odds, whether it is wrong, and what each neuron added."""

    id: str
    group: str
    log_odds: float
    wrong: bool
    contributions: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledScores(Row):
    """Answers of one data set, in the order of their questions, and how many were left out for which reason.

    `detector` is the content of the detector that scored them.
    """

    name: str
    detector: str
    rows: tuple[LabelledScore, ...]
    left_out: dict[str, int]

    def __repr__(self) -> str:
        right = len(self.rows) - int(self.wrong.sum())
        left_out = f"{sum(self.left_out.values())} left out"
        return one_line(self, self.name, f"{right} right + {self.wrong.sum()} wrong answers", left_out)

    @property
    def log_odds(self) -> Floats:
        """float64 [rows]."""
        return np.array([row.log_odds for row in self.rows], dtype=np.float64)

    @property
    def wrong(self) -> Bools:
        """bool [rows]."""
        return np.array([row.wrong for row in self.rows], dtype=bool)

    @property
    def contributions(self) -> Floats | None:
        """float64 [rows, neurons]; None where they are not known for every answer."""
        sizes = {len(row.contributions) for row in self.rows}
        return np.array([row.contributions for row in self.rows]) if len(sizes) == 1 and sizes != {0} else None

    @property
    def groups(self) -> list[str]:
        return [row.group for row in self.rows]

    @property
    def error_rate(self) -> float:
        """The share of wrong answers."""
        return float(self.wrong.mean()) if self.rows else float("nan")


def demand_both(scores: LabelledScores, least: int, purpose: str) -> None:
    """Raise `NotEnoughDataError` where a class has fewer than `least` answers; `purpose` begins the message."""
    wrong = int(scores.wrong.sum())
    right = len(scores.rows) - wrong
    if min(right, wrong) < least:
        raise NotEnoughDataError(
            f"{purpose} needs at least {least} right and {least} wrong answers, and '{scores.name}' has {right} right "
            f"and {wrong} wrong: label more answers"
        )


def one_per_group(scores: LabelledScores) -> LabelledScores:
    """The first answer of each group, so that rows are independent; the others are counted."""
    firsts = {row.group: row for row in reversed(scores.rows)}
    kept = tuple(row for row in scores.rows if firsts[row.group] is row)
    dropped = len(scores.rows) - len(kept)
    left_out = {**scores.left_out, **({"another answer about the same fact": dropped} if dropped else {})}
    return LabelledScores(scores.name, scores.detector, kept, left_out)


def describe_data(scores: LabelledScores) -> str:
    """The data in words: its name and how many answers of each class."""
    wrong = int(scores.wrong.sum())
    return f"{count(len(scores.rows), 'answer')} of {scores.name}, {wrong} of them wrong"
