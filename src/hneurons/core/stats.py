"""Intervals and tests. Every rate the library reports carries n and a 95% interval from here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BOOTSTRAPS = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95% interval and the count of units (items, or groups where grouped) behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"


def wilson(successes: int, n: int) -> Estimate:
    """Rate with its Wilson score interval (Wilson 1927); NaN where n is 0."""
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    z = 1.959963984540054
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Estimate(rate, float(max(0.0, centre - half)), float(min(1.0, centre + half)), n)


def auroc(labels: Sequence[int] | NDArray[Any], scores: Floats) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney U); NaN where a class is missing."""
    from scipy.stats import rankdata

    positive = np.asarray(labels, dtype=bool)
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    draws: int = BOOTSTRAPS,
) -> Estimate:
    """Percentile bootstrap of `statistic(row_indices)` over `n` rows, whole groups drawn together.

    `groups` gives each row's group (the question); without it each row is its own. Draws whose statistic is NaN (a
    class missing) are left out.
    """
    rng = np.random.default_rng(seed)
    members = _members(groups) if groups is not None else [np.array([i]) for i in range(n)]
    everything = np.arange(n)
    if not members:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    singles = all(len(rows) == 1 for rows in members)
    values = []
    for _ in range(draws):
        drawn = rng.integers(len(members), size=len(members))
        rows = drawn if singles and groups is None else np.concatenate([members[i] for i in drawn])
        value = statistic(rows)
        if not np.isnan(value):
            values.append(value)
    low, high = np.percentile(values, [2.5, 97.5]) if values else (float("nan"), float("nan"))
    return Estimate(float(statistic(everything)), float(low), float(high), len(members))


def _members(groups: Sequence[Any]) -> list[NDArray[np.int64]]:
    places: dict[Any, list[int]] = {}
    for row, group in enumerate(groups):
        places.setdefault(group, []).append(row)
    return [np.array(rows) for rows in places.values()]
