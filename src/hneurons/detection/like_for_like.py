"""A detector's neurons beside random ones: as many, none shared, fitted in the same way on the same rows."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hneurons.core.rows import Row
from hneurons.detection.answer_rows import AnswerRows, Decided, Floats, Indices, refit
from hneurons.detection.detector import Detector
from hneurons.neurons.controls import draw_sets

REFITTED, RANDOM = "H-neurons, refitted", "random neurons"
ALL_REFITTED, ALL_RANDOM = "all its neurons, refitted", "random neurons, as many as all its"
LIKE_FOR_LIKE = {ALL_REFITTED: ALL_RANDOM, REFITTED: RANDOM}
"""Neurons of the detector -> the random ones to compare with. H-neurons are those of positive weight."""


@dataclass(frozen=True, slots=True)
class RandomNeurons(Row):
    """Classifiers on `size` random neurons: mean, lowest and highest of the draws.

    `like` names the method with as many of the detector's neurons that is fitted in the same way. None of the random
    ones has a weight in the detector. It is empty in an evaluation by an earlier version, which did not see to that.
    """

    draws: int
    size: int
    accuracy: tuple[float, float, float]
    auroc: tuple[float, float, float]
    like: str = ""


class Compared(NamedTuple):
    """The decisions of the detector's own neurons, fitted anew, and of random sets of the same size."""

    own: Decided
    size: int
    drawn: list[Decided]

    def summarize(self, like: str, areas: Floats, test: AnswerRows) -> RandomNeurons:
        """`areas`: AUROC of each random set."""
        rates = [float(((values > threshold) == test.labels).mean()) for values, threshold in self.drawn]
        return RandomNeurons(len(self.drawn), self.size, _spread(rates), _spread(areas.tolist()), like)


NONE = RandomNeurons(0, 0, (np.nan,) * 3, (np.nan,) * 3, REFITTED)
"""There were no H-neurons, so nothing was drawn."""


def compare_alike(
    detector: Detector, train: AnswerRows, test: AnswerRows, *, draws: int, seed: int
) -> dict[str, Compared]:
    """By the names in `LIKE_FOR_LIKE`: all neurons of the detector where some have negative weight, and H-neurons.

    All are fitted on `train` with the same L2 penalty (`refit`).
    """
    positive, shape = detector.neuron_set().columns, (detector.identity.layers, detector.identity.neurons)
    chosen: dict[str, Indices] = {ALL_REFITTED: detector.columns} if len(detector.columns) > len(positive) else {}
    chosen |= {REFITTED: positive} if len(positive) else {}
    found = {}
    for name, columns in chosen.items():
        sets = draw_sets(LIKE_FOR_LIKE[name], columns, shape, without=detector.columns, draws=draws, seed=seed)
        size = len(sets[0]) if sets else 0
        drawn = [refit(train, test, np.sort(one)) for one in sets] if size else []
        found[name] = Compared(refit(train, test, columns), size, drawn)
    return found


def _spread(values: list[float]) -> tuple[float, float, float]:
    if not values:
        return float("nan"), float("nan"), float("nan")
    return float(np.mean(values)), float(np.min(values)), float(np.max(values))
