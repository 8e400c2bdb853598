"""The fixed sequence of exact tests: counts as published, and thresholds that keep their promise in simulation."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest

from hneurons.core.errors import InputError
from hneurons.detection.decisions.fixed_sequence import (
    allowed_errors,
    fix_thresholds,
    labels_needed,
    last_passed,
    least_answered,
    lower_bound,
    run_sequence,
    run_thresholds,
    sequence_of,
    upper_bound,
)
from support.abstention import CLEAR, FALLING, WEAK, Population, simulate

ORACLE = json.loads((Path(__file__).parent / "mapie_oracle.json").read_text())


@pytest.mark.parametrize(("risk", "confidence"), [(0.1, 0.9), (0.05, 0.95), (0.3, 0.8)])
def test_errors_are_allowed_while_the_exact_upper_bound_is_within_the_risk(risk: float, confidence: float) -> None:
    for answered in range(1, 120):
        fine = [k for k in range(answered + 1) if upper_bound(k, answered, confidence) <= risk]
        assert allowed_errors(answered, risk, confidence) == max(fine, default=-1)
    least = least_answered(risk, confidence)
    assert allowed_errors(least, risk, confidence) == 0 and allowed_errors(least - 1, risk, confidence) == -1


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    for errors, answered in ((0, 22), (3, 60), (60, 60), (17, 40)):
        ends = binomtest(errors, answered).proportion_ci(confidence_level=0.8, method="exact")
        assert upper_bound(errors, answered, 0.9) == pytest.approx(ends.high)
        assert lower_bound(errors, answered, 0.9) == pytest.approx(ends.low)


def test_the_sequence_holds_the_least_number_for_each_error_more() -> None:
    assert sequence_of(100, 0.1, 0.9) == ((22, 0), (38, 1), (52, 2), (65, 3), (78, 4), (91, 5))
    assert sequence_of(300, 0.1, 0.9)[0] == (52, 2)  # at least 15% of 300
    assert sequence_of(22, 0.1, 0.9) == () and sequence_of(5, 0.1, 0.9) == ()
    for answered, allowed in sequence_of(700, 0.07, 0.95):
        assert allowed_errors(answered, 0.07, 0.95) == allowed == allowed_errors(answered - 1, 0.07, 0.95) + 1


def test_tests_end_at_the_first_that_fails_and_later_ones_are_shown() -> None:
    log_odds, wrong = np.arange(100.0), np.zeros(100, dtype=bool)
    wrong[[30, 31, 40, 41]] = True  # 2 of 38 where 1 may be, 4 of 52 where 2 may be, 4 of 78 where 4 may be
    steps = run_sequence(log_odds, wrong, 0.1, 0.9)
    assert [(s.answered, s.errors, s.reached, s.passed) for s in steps] == [
        (22, 0, True, True), (38, 2, True, False), (52, 4, False, False), (65, 4, False, False), (78, 4, False, False),
        (91, 4, False, False),
    ]  # fmt: skip
    best = last_passed(steps)
    assert best is not None and best.threshold == 22.0 and best.bound == upper_bound(0, 22, 0.9)
    wrong[0] = True
    assert last_passed(run_sequence(log_odds, wrong, 0.1, 0.9)) is None


def test_a_threshold_among_equal_scores_answers_none_of_them() -> None:
    log_odds = np.repeat([0.0, 1.0], [30, 70])
    wrong = np.zeros(100, dtype=bool)
    best = last_passed(run_sequence(log_odds, wrong, 0.1, 0.9))
    assert best is not None and best.threshold == 1.0 and (log_odds < best.threshold).sum() == 30
    same = last_passed(run_sequence(np.zeros(100), wrong, 0.1, 0.9))
    assert same is not None and not (np.zeros(100) < same.threshold).any()


def test_p_values_of_mapie_lead_to_the_same_decisions() -> None:
    level = 1 - ORACLE["confidence"]
    for errors, answered, p in ORACLE["p_values"]:
        assert (errors <= allowed_errors(answered, 0.1, 0.9)) == (p <= level)


@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize("population", [CLEAR, WEAK, FALLING], ids=["clear", "weak", "falling"])
def test_the_promise_is_broken_no_more_often_than_it_may_be(population: Population, n: int) -> None:
    found = simulate(population, n, draws=300)
    assert found.violations <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 300)


def test_labels_that_lie_are_caught_by_the_simulation() -> None:
    """The same check fails where the threshold is simply the last at which the observed precision is high enough."""

    def naive(log_odds: np.ndarray, wrong: np.ndarray) -> float:
        order = np.argsort(log_odds)
        share = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
        fine = np.flatnonzero(share[:-1] <= 0.1)
        return float(log_odds[order][fine[-1] + 1]) if len(fine) else math.nan

    found = simulate(CLEAR, 300, draws=200, rule=naive)
    assert found.violations > 0.1 + 2 * math.sqrt(0.1 * 0.9 / 200)


class _Mapie(NamedTuple):
    violations: float
    coverage: float


def _mapie(population: Population, thresholds: list[float | None]) -> _Mapie:
    """Coverage and violations of thresholds on the probability of being right."""
    known = [None if t is None else (logit(1 - min(t, 1 - 1e-12)) - population.offset) / population.slope
             for t in thresholds]  # fmt: skip
    found = [(0.0, 0.0) if s is None else population.at(float(s)) for s in known]
    return _Mapie(float(np.mean([risk > 0.1 for _, risk in found])), float(np.mean([c for c, _ in found])))


@pytest.mark.parametrize("name", ORACLE["populations"])
def test_as_many_are_answered_as_by_mapies_fixed_sequence_at_300(name: str) -> None:
    theirs = ORACLE["populations"][name]
    population = Population(theirs["offset"], theirs["slope"])
    ours = simulate(population, ORACLE["n"], draws=ORACLE["draws"])
    for thresholds in theirs["thresholds"].values():
        assert ours.coverage >= _mapie(population, thresholds).coverage


@pytest.mark.parametrize("name", ["clear", "weak"])
def test_fixed_thresholds_answer_all_that_mapie_answers_in_every_draw(name: str) -> None:
    """MAPIE 1.6 rounds some counts of errors up, and then stops at a threshold earlier; elsewhere both are the same."""
    theirs = ORACLE["populations"][name]
    population, many = Population(theirs["offset"], theirs["slope"]), np.random.default_rng(99).normal(size=200_000)
    right = 1 - population.wrong(many)
    quantiles = np.quantile(right, np.linspace(0.99, 0, 100))
    grids = {"default": np.linspace(0.99, 0, 100), "from 15%": quantiles[quantiles <= np.quantile(right, 0.85)]}
    same = 0
    for grid, thresholds in grids.items():
        for draw, best in enumerate(theirs["thresholds"][grid][:150]):
            rng = np.random.default_rng(draw)
            p = 1 - population.wrong(rng.normal(size=ORACLE["n"]))
            wrong = rng.random(ORACLE["n"]) >= p
            rising = np.nextafter(-thresholds, np.inf)  # MAPIE answers at a threshold, too
            found = last_passed(run_thresholds(-p, wrong, rising, 0.1, 0.9))
            # Of thresholds that pass, MAPIE takes one that answers most of the right answers.
            theirs_right = 0 if best is None else int((~wrong[p >= best - 1e-6]).sum())
            ours_right = 0 if found is None else found.answered - found.errors
            assert ours_right >= theirs_right
            same += ours_right == theirs_right
    assert same >= 0.6 * 300


@pytest.mark.parametrize("population", [CLEAR, WEAK, FALLING], ids=["clear", "weak", "falling"])
def test_fixed_thresholds_keep_the_promise_without_an_assumption(population: Population) -> None:
    thresholds = fix_thresholds(np.random.default_rng(7).normal(size=150))

    def rule(log_odds: np.ndarray, wrong: np.ndarray) -> float:
        best = last_passed(run_thresholds(log_odds, wrong, thresholds, 0.1, 0.9))
        return math.nan if best is None else best.threshold

    assert simulate(population, 300, draws=300, rule=rule).violations <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 300)


@pytest.mark.parametrize(("coverage", "precision"), [(0.5, 0.95), (0.3, 0.97), (1.0, 0.93)])
def test_with_as_many_labels_as_said_four_of_five_tests_pass(coverage: float, precision: float) -> None:
    needed = labels_needed(0.9, 0.9, coverage=coverage, precision=precision)
    answered = int(needed.expected / 1.5 * coverage)
    rng = np.random.default_rng(0)
    errors = rng.binomial(answered, 1 - precision, 4000)
    passed = (errors <= allowed_errors(answered, 0.1, 0.9)).mean()
    assert 0.78 < passed < 0.93
    assert needed.without_errors == math.ceil(33 / coverage) <= needed.expected


def test_impossible_targets_are_refused() -> None:
    with pytest.raises(InputError, match=r"--target-precision should lie between 0\.000001 and 0\.999999, found 1$"):
        labels_needed(1, 0.9, coverage=0.5, precision=1)
    with pytest.raises(InputError, match="--confidence"):
        labels_needed(0.9, 0, coverage=0.5, precision=1)
    with pytest.raises(InputError, match=r"--confidence should lie between .* found 1e-20"):
        labels_needed(0.9, 1e-20, coverage=0.5, precision=1)
    with pytest.raises(InputError, match=r"--target-precision should lie between .* found 1e-17"):
        labels_needed(1e-17, 0.9, coverage=0.5, precision=1)
    with pytest.raises(InputError, match="too close to the target"):
        labels_needed(1 - 1e-6, 0.9, coverage=0.5, precision=1)
    assert labels_needed(1e-6, 1e-6, coverage=1, precision=1) == (2, 2)
    with pytest.raises(InputError, match="expect more than the target"):
        labels_needed(0.9, 0.9, coverage=0.5, precision=0.9)
    with pytest.raises(InputError, match="should lie above 0"):
        labels_needed(0.9, 0.9, coverage=0, precision=0.95)
    with pytest.raises(InputError, match="too close to the target"):
        labels_needed(0.9, 0.9, coverage=0.5, precision=0.90001)


def test_the_population_is_what_it_says() -> None:
    rng = np.random.default_rng(1)
    s = rng.normal(size=400_000)
    wrong = rng.random(400_000) < expit(CLEAR.offset + CLEAR.slope * s)
    coverage, risk = CLEAR.at(-0.4)
    assert (s < -0.4).mean() == pytest.approx(coverage, abs=0.003)
    assert wrong[s < -0.4].mean() == pytest.approx(risk, abs=0.003)
