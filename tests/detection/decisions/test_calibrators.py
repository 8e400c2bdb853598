"""Maps to probabilities: planted ones are found again, and each agrees with another way of fitting it."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from hneurons.core.errors import InputError
from hneurons.detection.decisions.calibrators import METHODS, Calibrator, Method, fit_calibrator


def planted(n: int, slope: float, offset: float, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log odds of a detector that is off by a slope and an offset, and labels drawn from the true probabilities."""
    rng = np.random.default_rng(seed)
    s = rng.normal(0.5, 2, n)
    return s, rng.random(n) < expit(slope * s + offset)


def loss(p: np.ndarray, wrong: np.ndarray) -> float:
    return float(-np.mean(np.where(wrong, np.log(p), np.log1p(-p))))


def test_platt_finds_a_planted_slope_and_offset() -> None:
    s, wrong = planted(20_000, 0.5, -1.5)
    found = fit_calibrator("platt", s, wrong)
    assert found.parameters == pytest.approx((0.5, -1.5), abs=0.06)


def test_a_shift_finds_a_planted_offset_and_keeps_the_slope() -> None:
    s, wrong = planted(20_000, 1.0, -2.0)
    found = fit_calibrator("shift", s, wrong)
    assert found.parameters == pytest.approx((-2.0,), abs=0.06)
    p = found.probability(s)
    assert np.allclose(logit(p) - s, found.parameters[0])


def test_platt_agrees_with_the_likelihood_minimised_directly() -> None:
    s, wrong = planted(60, 0.8, -0.5)
    targets = np.where(wrong, (wrong.sum() + 1) / (wrong.sum() + 2), 1 / ((~wrong).sum() + 2))

    def off(at: np.ndarray) -> float:
        odds = at[0] * s + at[1]
        return float(np.sum(np.logaddexp(0, odds) - targets * odds))

    best = minimize(off, np.zeros(2), method="BFGS", options={"gtol": 1e-8}).x
    assert fit_calibrator("platt", s, wrong).parameters == pytest.approx(best.tolist(), abs=2e-3)


def test_beta_is_platt_where_platt_is_right_and_bends_where_it_is_not() -> None:
    s, wrong = planted(20_000, 0.7, -0.8)
    assert (
        loss(fit_calibrator("beta", s, wrong).probability(s), wrong)
        <= loss(fit_calibrator("platt", s, wrong).probability(s), wrong) + 1e-4
    )
    rng = np.random.default_rng(1)
    s = rng.normal(0, 2, 20_000)
    wrong = rng.random(20_000) < Calibrator("beta", (2.5, 0.2, 1.0)).probability(s)
    found = fit_calibrator("beta", s, wrong)
    assert found.parameters == pytest.approx((2.5, 0.2, 1.0), abs=0.15)
    assert loss(found.probability(s), wrong) < loss(fit_calibrator("platt", s, wrong).probability(s), wrong) - 0.005


def test_beta_never_falls_where_the_scores_rise() -> None:
    rng = np.random.default_rng(3)
    s = rng.normal(0, 2, 500)
    wrong = rng.random(500) < expit(np.where(s > 0, -0.5 * s, s))
    found = fit_calibrator("beta", s, wrong)
    assert min(found.parameters[:2]) >= 0
    assert (np.diff(found.probability(np.linspace(-9, 9, 100))) >= 0).all()


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
@pytest.mark.parametrize("offset", [-4.0, 0.0, 4.0])
def test_a_detector_that_ranks_the_wrong_way_round_gets_a_flat_map(method: Method, offset: float) -> None:
    rng = np.random.default_rng(4)
    s = rng.normal(0, 2, 500)
    wrong = rng.random(500) < expit(-2 * s)
    found = fit_calibrator(method, s + offset, wrong)
    p = found.probability(np.linspace(-9, 9, 100))
    assert (np.diff(p) >= 0).all() and p[0] == pytest.approx(wrong.mean(), abs=0.02)
    if method != "isotonic":
        assert found.flat
    assert not fit_calibrator(method, s + offset, ~wrong).flat


@pytest.mark.parametrize("method", METHODS)
def test_classes_that_do_not_overlap_give_finite_probabilities_and_the_map_round_trips(method: Method) -> None:
    s = np.array([-3.0, -2, -1, 1, 2, 3])
    found = fit_calibrator(method, s, s > 0)
    p = found.probability(np.array([-50.0, -1, 0, 1, 50]))
    assert np.isfinite(p).all() and (np.diff(p) >= 0).all() and (p >= 0).all() and (p <= 1).all()
    assert Calibrator.from_row(found.to_row()) == found


def test_isotonic_pools_what_is_out_of_order() -> None:
    found = fit_calibrator("isotonic", np.arange(6.0), np.array([0, 1, 0, 0, 1, 1], dtype=bool))
    assert found.probability(np.arange(6.0)) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 1, 1])


def test_another_error_rate_moves_the_log_odds_by_the_difference() -> None:
    rng = np.random.default_rng(5)
    wrong = rng.random(40_000) < 0.5
    s = rng.normal(np.where(wrong, 1, -1), 1.0)
    found = fit_calibrator("platt", s, wrong).restated(wrong.mean(), 0.1)
    fewer = np.flatnonzero(wrong)[: int((~wrong).sum() / 9)]
    rows = np.concatenate([np.flatnonzero(~wrong), fewer])
    refitted = fit_calibrator("platt", s[rows], wrong[rows])
    places = np.linspace(-3, 3, 9)
    assert found.probability(places) == pytest.approx(refitted.probability(places), abs=0.02)
    assert found.probability(s[rows]).mean() == pytest.approx(0.1, abs=0.005)


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(InputError, match="known are shift, platt, beta, isotonic"):
        fit_calibrator("temperature", np.zeros(2), np.array([True, False]))  # type: ignore[arg-type]
