"""Bounds and weighted readings against naive enumeration and planted losses."""

import itertools

import numpy as np
import pytest

from hneurons.core.missing import reweighted, worst_and_best
from hneurons.core.stats import slope_weights


def test_bounds_are_the_extremes_over_every_way_to_fill_what_is_missing() -> None:
    values = np.array([[0, np.nan, 1], [1, 1, np.nan], [np.nan, 0, 0]], dtype=float)
    weights = slope_weights([0, 1, 3])
    slopes = []
    for filled in itertools.product((0.0, 1.0), repeat=3):
        whole = values.copy()
        whole[np.isnan(whole)] = filled
        slopes.append(float(whole.mean(axis=0) @ weights))
    assert worst_and_best(values, weights) == pytest.approx((min(slopes), max(slopes)))
    assert np.isnan(worst_and_best(np.empty((0, 3)), weights)).all()


def test_a_trend_made_by_losing_one_outcome_alone_disappears_when_weighted() -> None:
    """No item changes, but at the higher alphas most items of outcome 0 are lost."""
    rng = np.random.default_rng(0)
    values = np.repeat((rng.random(400) < 0.3).astype(float)[:, None], 3, axis=1)
    rate = values[:, 0].mean()
    for column, lost in ((1, 0.4), (2, 0.8)):
        values[(values[:, column] == 0) & (rng.random(400) < lost), column] = np.nan
    weights = slope_weights([0, 1, 2])
    assert np.nanmean(values, axis=0) @ weights > 0.1
    found = reweighted(values, weights, 0)
    assert found.value == pytest.approx(0.0) and found.low < 0 < found.high and found.n == 400
    assert reweighted(values, np.array([0.0, 0.0, 1.0]), 0).value == pytest.approx(rate)
    low, high = worst_and_best(values, weights)
    assert low <= 0 < found.high < high


def test_what_is_never_scored_of_a_kind_cannot_be_weighted() -> None:
    values = np.array([[0, 0], [0, np.nan], [1, np.nan]], dtype=float)
    assert np.isnan(reweighted(values, slope_weights([0, 1]), 0).value)
    assert np.isnan(reweighted(np.full((2, 2), np.nan), slope_weights([0, 1]), 0).value)


def test_without_losses_the_weighted_reading_is_the_plain_one() -> None:
    rng = np.random.default_rng(1)
    values = (rng.random((60, 4)) < 0.4).astype(float)
    weights = slope_weights([0, 1, 2, 3])
    assert reweighted(values, weights, 1).value == pytest.approx(float(values.mean(axis=0) @ weights))
    groups = [n // 2 for n in range(60)]
    assert reweighted(values, weights, 1, groups=groups).value == pytest.approx(float(values.mean(axis=0) @ weights))
