"""What numbers could be if all had been scored: worst and best case, and a reading that weights by who stays scored."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hneurons.core.stats import Estimate, Floats, bootstrap_means, bounded_interval, column_means

Bounds = tuple[float, float]
"""The least and the largest value."""


def worst_and_best(values: Floats, weights: Floats) -> Bounds:
    """Bounds of a weighted sum of column means over all rows, whatever lies in [0, 1] stands where `values` is NaN.

    values: rows x columns. No assumption is made about what is missing (Manski 1990). NaN without rows.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return float("nan"), float("nan")
    known = np.isfinite(values)
    open_ = (~known).mean(axis=0) * weights
    seen = float(np.where(known, values, 0.0).mean(axis=0) @ weights)
    return seen + float(np.minimum(open_, 0).sum()), seen + float(np.maximum(open_, 0).sum())


def reweighted(values: Floats, weights: Floats, base: int, *, groups: Sequence[Any] | None = None) -> Estimate:
    """A weighted sum of column means in which every scored cell stands for the unscored ones of its like.

    values: rows x columns from 0 to 1, NaN where unscored. Rows are alike that have the same outcome (above the mean
    or not) in the column `base`. Each cell is weighted by the inverse of the share of its like that is scored in its
    column (Horvitz and Thompson 1952). This is right where scoring hangs on that outcome and on nothing else. Rows
    unscored in `base` are left out. Unknown (NaN) where a column has none of a kind scored.
    """
    rows = values[np.isfinite(values[:, base])]
    unknown = Estimate(float("nan"), float("nan"), float("nan"), len(rows))
    if not len(rows):
        return unknown
    above = rows[:, base] > rows[:, base].mean()
    width = values.shape[1]
    table = np.concatenate(
        [np.where(above[:, None], rows, np.nan), np.where(above[:, None], np.nan, rows), above[:, None]], axis=1
    )

    def combine(means: Floats) -> Floats:
        share = means[:, -1:]
        high = np.where(share > 0, share * means[:, :width], 0.0)
        low = np.where(share < 1, (1 - share) * means[:, width : 2 * width], 0.0)
        return np.asarray((high + low) @ weights)

    own = None if groups is None else [g for g, keep in zip(groups, np.isfinite(values[:, base]), strict=True) if keep]
    point = float(combine(column_means(table)[None])[0])
    if not np.isfinite(point):
        return unknown
    draws = combine(bootstrap_means(table, groups=own))
    units = len(rows) if own is None else len(set(own))
    lowest, highest = float(np.minimum(weights, 0).sum()), float(np.maximum(weights, 0).sum())
    return bounded_interval(point, draws, len(rows), units=units, lowest=lowest, highest=highest)
