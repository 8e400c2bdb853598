"""Intervals and tests. Every rate the library reports carries n and a 95% interval from here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hneurons.core.rows import Row
from hneurons.core.wording import interval

Floats = NDArray[np.float64]
BOOTSTRAPS = 2000
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate(Row):
    """A number with its 95% interval and the count of units (items, or groups where grouped) behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{interval(self)} (n={self.n})"


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
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Percentile bootstrap of `statistic(row_indices)` over `n` rows, whole groups drawn together.

    `groups` gives each row's group (the question); without it each row is its own. Draws whose statistic is NaN (a
    class missing) are left out. `bounds` are the least and the largest value there can be, where there are any. With
    them an interval has a width even when all resamples are alike (see `bounded_interval`).
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
    point, resampled, units = float(statistic(everything)), np.array(values, dtype=np.float64), len(members)
    if bounds is None:
        return percentile_interval(point, resampled, units)
    return bounded_interval(point, resampled, units, units=units, lowest=bounds[0], highest=bounds[1])


def bootstrap_aurocs(
    labels: NDArray[np.bool_],
    scores: Floats,
    *,
    groups: Sequence[Any],
    seed: int = 0,
    draws: int = BOOTSTRAPS,
    weights: Floats | None = None,
    strata: NDArray[np.int64] | None = None,
) -> Floats:
    """AUROC of every column of `scores` (rows x methods) under `draws` resamples of whole groups, draws x methods.

    `weights` [rows] say how often each row counts when it is drawn, by default once. With `strata` [rows] only pairs
    of rows of one stratum count. All methods share the resample, so any difference of columns is paired. NaN where a
    draw has no pair of both classes.
    """
    members = _members(groups)
    owner = np.empty(len(labels), dtype=np.int64)
    for number, rows in enumerate(members):
        owner[rows] = number
    positive = np.asarray(labels, dtype=bool)
    parts = _parts(np.zeros(len(labels), dtype=np.int64) if strata is None else strata)
    found = []
    for block in _resample_blocks(len(members), seed, draws):
        times = block[:, owner].astype(np.float64)
        if weights is not None:
            times *= weights
        found.append(np.stack([_weighted_aurocs(positive, column, times, parts) for column in scores.T], axis=1))
    return np.concatenate(found)


def stratified_auroc(labels: NDArray[np.bool_], scores: Floats, strata: NDArray[np.int64]) -> float:
    """AUROC over pairs of rows of one stratum, ties counted half; NaN where no stratum has both classes."""
    parts = _parts(strata)
    return float(_weighted_aurocs(np.asarray(labels, dtype=bool), scores, np.ones((1, len(scores))), parts)[0])


def _parts(strata: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]


def _weighted_aurocs(
    positive: NDArray[np.bool_], scores: Floats, times: Floats, parts: Sequence[NDArray[np.int64]]
) -> Floats:
    """AUROC with each row counted as often as each row of `times` [draws, rows] says, pairs within a part."""
    wins, pairs = np.zeros(len(times)), np.zeros(len(times))
    for rows in parts:
        order = rows[np.argsort(scores[rows])]
        ordered, weights, at = scores[order], times[:, order], positive[order]
        negatives = np.zeros((len(times), len(order) + 1))
        np.cumsum(weights * ~at, axis=1, out=negatives[:, 1:])
        low, high = (np.searchsorted(ordered, ordered[at], side=side) for side in ("left", "right"))
        wins += (weights[:, at] * (negatives[:, low] + negatives[:, high])).sum(axis=1) / 2
        pairs += weights[:, at].sum(axis=1) * negatives[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(wins / pairs)


def _members(groups: Sequence[Any]) -> list[NDArray[np.int64]]:
    places: dict[Any, list[int]] = {}
    for row, group in enumerate(groups):
        places.setdefault(group, []).append(row)
    return [np.array(rows) for rows in places.values()]


PAIRED_DRAWS = 10_000


def bootstrap_means(
    values: Floats, *, groups: Sequence[Any] | None = None, seed: int = 42, draws: int = PAIRED_DRAWS
) -> Floats:
    """Column means of `values` (items x columns, NaN = missing) under `draws` resamples of whole items.

    All columns share the resample, so any function of the means (a difference, a slope, a kappa) is paired by item.
    With `groups` whole groups are drawn instead. Returns draws x columns.
    """
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    sums, counts = np.where(known, values, 0.0), known.astype(np.float64)
    if groups is not None:
        members = _members(groups)
        sums = np.stack([sums[rows].sum(axis=0) for rows in members])
        counts = np.stack([counts[rows].sum(axis=0) for rows in members])
    n, complete = len(sums), bool(known.all()) and groups is None
    blocks = _kept_blocks(n, seed, draws) if n * draws <= _KEPT_CELLS else _resample_blocks(n, seed, draws)
    means = []
    for block in blocks:
        times = block.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append((times @ sums) / (n if complete else times @ counts))
    return np.concatenate(means)


def _resample_blocks(n: int, seed: int, draws: int) -> Iterator[NDArray[np.int16]]:
    """How often each of `n` items is drawn in each resample, some hundred resamples at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, 2_000_000 // max(n, 1))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.int16)


# Many panels of one run have the same items, so the same resamples serve them all; 32 MiB each at most.
_KEPT_CELLS = 16_000_000


@lru_cache(maxsize=4)
def _kept_blocks(n: int, seed: int, draws: int) -> tuple[NDArray[np.int16], ...]:
    return tuple(_resample_blocks(n, seed, draws))


def column_means(values: Floats) -> Floats:
    """Mean of each column over its known (finite) entries; NaN where there are none."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))


def percentile_interval(point: float, draws: Floats, n: int) -> Estimate:
    """An estimate with the 2.5 and 97.5 percentiles of its bootstrap draws, NaN draws left out."""
    kept = draws[np.isfinite(draws)]
    low, high = np.percentile(kept, [2.5, 97.5]) if len(kept) else (np.nan, np.nan)
    return Estimate(float(point), float(low), float(high), n)


def bounded_interval(point: float, draws: Floats, n: int, *, units: int, lowest: float, highest: float) -> Estimate:
    """As `percentile_interval`, and where every resample gives the same value, as `alike_interval`.

    A mean over units that are all alike is not certain, however narrow its bootstrap.
    """
    found = percentile_interval(point, draws, n)
    if found.high - found.low > _ROUNDING or not np.isfinite(found.value):
        return found
    return alike_interval(found.value, n, units, lowest, highest)


def alike_interval(point: float, n: int, units: int, lowest: float, highest: float) -> Estimate:
    """The interval of a mean whose units (items or groups) are all alike, which no resample can vary.

    Wilson's interval for 0 of `units` says how many units may be otherwise. Each of them may lie anywhere in [lowest,
    highest]. For a rate of 0 or 1 the result is Wilson's own interval.
    """
    share = wilson(0, units).high
    return Estimate(point, point - share * (point - lowest), point + share * (highest - point), n)


def detectable(estimate: Estimate) -> float:
    """The difference from a fixed value that is told from chance four times in five, with as wide an interval.

    (1.96 + 0.84) standard errors, one being the width of the 95% interval divided by 2 * 1.96.
    """
    return (estimate.high - estimate.low) * (1.959963984540054 + 0.8416212335729143) / (2 * 1.959963984540054)


def slope_weights(doses: Sequence[float]) -> Floats:
    """Weights w for which `rates @ w` is the least-squares slope of the rates on the doses."""
    centred = np.asarray(doses, dtype=np.float64) - np.mean(doses)
    return np.asarray(centred / (centred**2).sum())


def sign_flip_test(differences: Floats, *, seed: int = 42, draws: int = PAIRED_DRAWS) -> float:
    """Two-sided permutation p-value that paired differences have mean 0: labels swapped within each pair.

    p = (1 + #{|permuted| >= |observed|}) / (1 + draws).
    """
    kept = np.asarray(differences, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    # A pair without a difference is the same under either label, so it need not be drawn.
    moved = kept[kept != 0]
    if len(moved) == 0:
        return 1.0
    rng = np.random.default_rng(seed)
    observed, hits = abs(moved.sum()), 0
    step = max(1, 4_000_000 // len(moved))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        signs = rng.integers(0, 2, size=(size, len(moved)), dtype=np.int8) * 2 - 1
        hits += int((np.abs(signs @ moved) >= observed - 1e-9).sum())
    return (1 + hits) / (1 + draws)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p-value from the discordant pairs (binomial with probability 1/2); 1 without any."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def cohen_kappa(first: Sequence[Any], second: Sequence[Any], *, groups: Sequence[Any] | None = None) -> Estimate:
    """Cohen's kappa of two raters with a bootstrap interval over items (or groups). NaN where chance is certain."""
    labels = {label: place for place, label in enumerate(sorted({*first, *second}, key=str))}
    k = len(labels)
    cells = np.zeros((len(first), k * k))
    for row, (a, b) in enumerate(zip(first, second, strict=True)):
        cells[row, labels[a] * k + labels[b]] = 1.0
    if not len(cells):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)

    def kappa(shares: Floats) -> Floats:
        table = shares.reshape(-1, k, k)
        agreement = np.trace(table, axis1=1, axis2=2)
        chance = (table.sum(axis=2) * table.sum(axis=1)).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((agreement - chance) / (1 - chance))

    units = len(cells) if groups is None else len(set(groups))
    draws = kappa(bootstrap_means(cells, groups=groups))
    return bounded_interval(kappa(cells.mean(axis=0))[0], draws, len(cells), units=units, lowest=-1, highest=1)
