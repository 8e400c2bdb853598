"""Calibration of a detector on labelled answers as they were drawn, and its quality on answers that did not make it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError
from hneurons.core.files import write_checked
from hneurons.core.rows import Row
from hneurons.core.seeds import fingerprint
from hneurons.core.showing import one_line
from hneurons.core.stats import Estimate, bootstrap_means, bounded_interval, wilson
from hneurons.core.wording import count, interval, number
from hneurons.detection.assessment import probability
from hneurons.detection.decisions.beside import load_beside
from hneurons.detection.decisions.calibrators import METHODS, Calibrator, Method, fit_calibrator
from hneurons.detection.decisions.labelled import LabelledScores, demand_both, describe_data
from hneurons.detection.detector import Detector

CALIBRATION_JSON = "calibration.json"
UNCALIBRATED = "uncalibrated"
LEAST = 10
"""Answers of each class below which nothing is calibrated."""
_FEW, _FEW_ISOTONIC = 50, 200
_FOLDS, _BINS, _DRAWS = 5, 10, 500
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quality(Row):
    """How good a map's probabilities are on answers that it was not fitted on, with intervals by question.

    - `error`: expected calibration error over ten bins of equal width. Chance alone makes it larger than 0.
    - `brier`: mean squared difference of probability and outcome.
    """

    method: str
    error: Estimate
    brier: Estimate


@dataclass(frozen=True, slots=True)
class Bin(Row):
    """Answers of like probability: the mean of their cross-fitted probabilities, and the share that is wrong."""

    probability: float
    wrong: Estimate


@dataclass(frozen=True, slots=True)
class Calibration(Row):
    """A detector's calibrator, and what it was made from.

    - `detector`: the content of the detector; `data`: the name of the labelled answers.
    - `natural_rate`: the share of wrong answers there; `error_rate`: the share that the probabilities are stated for.
    - `qualities`: of every map and of the uncalibrated risk, at `error_rate`, on answers that its fit left out.
    - `bins`: the reliability of the chosen map at the natural rate, likewise from answers left out.
    - `groups`: the groups of the questions, so that no answer calibrates and evaluates.
    """

    detector: str
    data: str
    right: int
    wrong: int
    left_out: dict[str, int]
    natural_rate: float
    error_rate: float
    calibrator: Calibrator
    qualities: tuple[Quality, ...]
    bins: tuple[Bin, ...]
    folds: int
    groups: tuple[str, ...]

    def __repr__(self) -> str:
        made = f"{self.calibrator.method} on {count(self.right + self.wrong, 'answer')} of {self.data}"
        return one_line(self, made, f"calibration error {interval(self.quality(self.calibrator.method).error)}")

    def quality(self, method: str) -> Quality:
        """Of one map by name, or "uncalibrated". Raises `KeyError` for another name."""
        return {quality.method: quality for quality in self.qualities}[method]

    @property
    def content(self) -> str:
        """16 hex digits of it."""
        return fingerprint(self.to_row())

    @property
    def threshold(self) -> float:
        """The least log odds of a grid at which a wrong answer is as likely as a right one; infinite where none is."""
        grid = np.linspace(-30, 30, 6001)
        above = np.flatnonzero(self.calibrator.probability(grid) >= 0.5)
        return float(grid[above[0]]) if len(above) else float("inf")

    def save(self, folder: Path) -> Path:
        """Write `calibration.json` beside a detector. Raises `StorageError`."""
        write_checked(folder / CALIBRATION_JSON, self.to_row())
        return folder / CALIBRATION_JSON


def calibrate_scores(
    scores: LabelledScores, *, method: Method = "platt", error_rate: float | None = None, seed: int = 0
) -> Calibration:
    """Fit `method` on all labelled scores, and measure every map on answers that its fit left out.

    The answers must be as they were drawn, so that their share of wrong ones is natural. With `error_rate` the
    probabilities are stated for data with that share instead. Fits leave out a fifth of the questions at a time.

    Raises what `check_calibration` raises, and `NotEnoughDataError` for too few answers of a class.
    """
    check_calibration(method, error_rate)
    demand_both(scores, LEAST, "calibration")
    _warn(scores, method)
    log_odds, wrong, groups = scores.log_odds, scores.wrong, scores.groups
    natural = scores.error_rate
    stated = natural if error_rate is None else error_rate
    weights = np.where(wrong, stated / natural, (1 - stated) / (1 - natural))
    folds = _split(wrong, groups, seed)
    crossed = {one: _cross_fit(one, log_odds, wrong, folds) for one in METHODS}
    at_rate: dict[str, Floats] = {UNCALIBRATED: np.array([probability(value) for value in log_odds])}
    at_rate |= {one: _restate(values, natural, stated) for one, values in crossed.items()}
    calibrator = fit_calibrator(method, log_odds, wrong)
    if error_rate is not None:
        calibrator = calibrator.restated(natural, error_rate)
    return Calibration(
        detector=scores.detector,
        data=scores.name,
        right=int((~wrong).sum()),
        wrong=int(wrong.sum()),
        left_out=scores.left_out,
        natural_rate=natural,
        error_rate=stated,
        calibrator=calibrator,
        qualities=tuple(measure_quality(one, p, wrong, weights, groups, seed=seed) for one, p in at_rate.items()),
        bins=reliability_bins(crossed[method], wrong),
        folds=_FOLDS,
        groups=tuple(dict.fromkeys(groups)),
    )


def check_calibration(method: str, error_rate: float | None) -> None:
    """Raise `InputError` for a map that is not known, and for a share of wrong answers outside of (0, 1)."""
    if error_rate is not None and not 0 < error_rate < 1:
        raise InputError(f"--error-rate should lie between 0 and 1, found {error_rate:g}")
    if method not in METHODS:
        raise InputError(f"unknown calibration '{method}': known are {', '.join(METHODS)}")


def _warn(scores: LabelledScores, method: Method) -> None:
    wrong = int(scores.wrong.sum())
    fewer = min(wrong, len(scores.rows) - wrong)
    enough = _FEW_ISOTONIC if method == "isotonic" else _FEW
    if fewer < enough:
        _log.warning(
            "%s: fewer than %d answers of a class, so that the probabilities are uncertain%s",
            describe_data(scores), enough, "; isotonic calibration needs the most" if method == "isotonic" else "",
        )  # fmt: skip


def _split(wrong: Bools, groups: list[str], seed: int) -> list[tuple[Indices, Indices]]:
    """The rows that are fitted and those that are left out, fold by fold; no group is on both sides."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros((len(wrong), 1)), wrong, groups))


def _cross_fit(method: Method, log_odds: Floats, wrong: Bools, folds: list[tuple[Indices, Indices]]) -> Floats:
    """Probabilities of each answer by a map fitted on the other folds of questions."""
    found = np.full(len(wrong), wrong.mean())
    for fitted, other in folds:
        if wrong[fitted].any() and not wrong[fitted].all():  # else no question that is left in tells anything
            found[other] = fit_calibrator(method, log_odds[fitted], wrong[fitted]).probability(log_odds[other])
    return found


def _restate(values: Floats, natural: float, stated: float) -> Floats:
    """Probabilities at another share of wrong answers."""
    wrong, right = values * stated / natural, (1 - values) * (1 - stated) / (1 - natural)
    return np.asarray(wrong / (wrong + right))


def measure_quality(
    method: str, values: Floats, wrong: Bools, weights: Floats, groups: list[str], *, seed: int = 0
) -> Quality:
    """Calibration error and Brier score of probabilities, each answer counting `weights` times."""
    bins = np.minimum((values * _BINS).astype(int), _BINS - 1)
    cells = np.zeros((len(values), _BINS + 2))
    cells[np.arange(len(values)), bins] = weights * (values - wrong)
    cells[:, _BINS], cells[:, _BINS + 1] = weights * (values - wrong) ** 2, weights
    means = np.vstack([cells.mean(axis=0), bootstrap_means(cells, groups=groups, seed=seed, draws=_DRAWS)])
    shares = means[:, :-1] / means[:, -1:]
    units = len(set(groups))
    estimates = [
        bounded_interval(values[0], values[1:], units, units=units, lowest=0, highest=1)
        for values in (np.abs(shares[:, :_BINS]).sum(axis=1), shares[:, _BINS])
    ]
    return Quality(method, *estimates)


def reliability_bins(values: Floats, wrong: Bools) -> tuple[Bin, ...]:
    """At most ten bins with as many answers each, from the least probability to the largest."""
    order = np.argsort(values, kind="stable")
    parts = [part for part in np.array_split(order, max(1, min(_BINS, len(order) // 10))) if len(part)]
    return tuple(Bin(float(values[part].mean()), wilson(int(wrong[part].sum()), len(part))) for part in parts)


def load_calibration(folder: Path, detector: Detector) -> Calibration | None:
    """The calibration beside a detector; None where there is none.

    Raises `ArtifactError` where it is damaged or of another detector.
    """
    return load_beside(folder / CALIBRATION_JSON, Calibration, detector, verb="calibrate")


def describe_calibration(calibration: Calibration) -> str:
    """In words what the probabilities are calibrated on, and how far off they were on answers left out."""
    quality = calibration.quality(calibration.calibrator.method)
    restated = calibration.error_rate != calibration.natural_rate
    rate = f", stated for an error rate of {number(calibration.error_rate, 2)}" if restated else ""
    flat = " The detector does not rank these answers the right way round: all get one probability."
    return (
        f"Calibrated ({calibration.calibrator.method}) on {count(calibration.right + calibration.wrong, 'answer')} of "
        f"{calibration.data}, {number(100 * calibration.natural_rate, 1)}% of them wrong{rate}; calibration error "
        f"{interval(quality.error)}.{flat if calibration.calibrator.flat else ''}"
    )
