"""How the error rate of the answered answers grows with their share, and the areas that sum it up.

The most certain answers are answered first. Conventions:

- AURC: the mean, over i = 1 ... n, of the error rate of the i most certain answers (Geifman et al. 2019).
- E-AURC: AURC less that of an oracle, which answers all right ones first.
- PRR: (AURC of random order - AURC) / (AURC of random order - AURC of the oracle) (Malinin and Gales 2021). Random
  order has the error rate of all answers at every share. 1 is the oracle, 0 is chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hneurons.core.rows import Row
from hneurons.core.stats import Estimate, percentile_interval

_DRAWS, _POINTS = 500, 100
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RiskCoverage(Row):
    """The areas with intervals by question, and at most a hundred points of the curve: (coverage, error rate)."""

    aurc: Estimate
    e_aurc: Estimate
    prr: Estimate
    points: tuple[tuple[float, float], ...]


def selective_risks(log_odds: Floats, wrong: Bools) -> Floats:
    """The error rate of the i answers with the lowest log odds, i = 1 ... n; those that tie count as their mean."""
    values, places, sizes = np.unique(log_odds, return_inverse=True, return_counts=True)
    share = np.bincount(places, weights=wrong, minlength=len(values)) / sizes
    expected = np.repeat(share, sizes)
    return np.asarray(np.cumsum(expected) / np.arange(1, len(expected) + 1))


def areas(log_odds: Floats, wrong: Bools) -> tuple[float, float, float]:
    """(AURC, E-AURC, PRR); PRR is NaN where all answers are of one class."""
    n, errors = len(wrong), int(wrong.sum())
    aurc = float(selective_risks(log_odds, wrong).mean())
    ideal = float(np.mean(np.maximum(np.arange(1, n + 1) - (n - errors), 0) / np.arange(1, n + 1)))
    room = errors / n - ideal
    return aurc, aurc - ideal, (errors / n - aurc) / room if room > 1e-12 else float("nan")


def measure_curve(log_odds: Floats, wrong: Bools, *, seed: int = 0) -> RiskCoverage:
    """The curve and its areas; the rows are independent and resampled for the intervals."""
    rng, n = np.random.default_rng(seed), len(wrong)
    drawn = (rng.integers(n, size=n) for _ in range(_DRAWS))
    resampled = np.array([areas(log_odds[rows], wrong[rows]) for rows in drawn])
    aurc, e_aurc, prr = (
        percentile_interval(point, column, n) for point, column in zip(areas(log_odds, wrong), resampled.T, strict=True)
    )
    risks = selective_risks(log_odds, wrong)
    shown = np.unique(np.linspace(0, len(risks) - 1, min(_POINTS, len(risks))).astype(int))
    points = tuple(((int(i) + 1) / len(risks), round(float(risks[i]), 6)) for i in shown)
    return RiskCoverage(aurc, e_aurc, prr, points)
