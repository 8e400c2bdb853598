"""Areas under the risk-coverage curve: a naive count, an oracle and chance."""

import math

import numpy as np
import pytest

from hneurons.detection.decisions.risk_coverage import areas, measure_curve, selective_risks


def test_the_area_is_that_of_a_naive_count() -> None:
    rng = np.random.default_rng(0)
    s, wrong = rng.normal(size=60), rng.random(60) < 0.4
    order = sorted(range(60), key=lambda i: s[i])
    risks = [sum(wrong[i] for i in order[:k]) / k for k in range(1, 61)]
    best = sorted(wrong)
    ideal = [sum(best[:k]) / k for k in range(1, 61)]
    aurc, above, prr = areas(s, wrong)
    assert selective_risks(s, wrong) == pytest.approx(risks)
    assert aurc == pytest.approx(np.mean(risks)) and above == pytest.approx(np.mean(risks) - np.mean(ideal))
    assert prr == pytest.approx((wrong.mean() - np.mean(risks)) / (wrong.mean() - np.mean(ideal)))


def test_an_oracle_has_no_excess_and_one_that_knows_nothing_is_chance() -> None:
    wrong = np.arange(50) >= 30
    assert areas(wrong.astype(float), wrong)[1:] == pytest.approx((0.0, 1.0))
    assert areas(np.zeros(50), wrong) == pytest.approx((0.4, 0.4 - areas(wrong.astype(float), wrong)[0], 0.0))
    assert areas(-wrong.astype(float), wrong)[2] < 0


def test_ties_count_as_the_mean_over_all_orders_of_them() -> None:
    rng = np.random.default_rng(1)
    s, wrong = rng.integers(0, 3, 40).astype(float), rng.random(40) < 0.5
    drawn = [areas(s + rng.random(40) * 1e-6, wrong)[0] for _ in range(4000)]
    assert areas(s, wrong)[0] == pytest.approx(np.mean(drawn), abs=0.002)


def test_one_class_alone_has_no_ratio() -> None:
    for wrong in (np.zeros(20, dtype=bool), np.ones(20, dtype=bool)):
        assert math.isnan(areas(np.arange(20.0), wrong)[2]) and areas(np.arange(20.0), wrong)[1] == pytest.approx(0)


def test_intervals_hold_the_value_and_the_curve_ends_at_the_error_rate() -> None:
    rng = np.random.default_rng(2)
    s = rng.normal(size=400)
    wrong = rng.random(400) < 1 / (1 + np.exp(-s))
    found = measure_curve(s, wrong)
    for estimate in (found.aurc, found.e_aurc, found.prr):
        assert estimate.low < estimate.value < estimate.high and estimate.n == 400
    assert len(found.points) == 100 and found.points[-1] == (1.0, pytest.approx(wrong.mean()))
