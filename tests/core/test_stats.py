"""The shared statistics of the audits against naive oracles and public implementations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hneurons.core.stats import (
    bootstrap_means,
    cohen_kappa,
    column_means,
    mcnemar_exact,
    percentile_interval,
    sign_flip_test,
    slope_weights,
)


def test_bootstrap_means_are_those_of_the_drawn_items() -> None:
    values = np.random.default_rng(0).random((30, 3))
    values[4, 1] = np.nan
    drawn = np.random.default_rng(42).integers(0, 30, size=(50, 30))
    expected = np.nanmean(values[drawn], axis=1)
    np.testing.assert_allclose(bootstrap_means(values, draws=50), expected)


def test_bootstrap_by_group_draws_whole_groups() -> None:
    values = np.array([[0.0], [0.0], [1.0], [1.0], [1.0]])
    means = bootstrap_means(values, groups=["a", "a", "b", "b", "b"], draws=500)
    assert {round(float(m), 6) for m in means[:, 0]} == {0.0, 0.6, 1.0}


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        values = (rng.random((200, 1)) < 0.3).astype(float)
        found = percentile_interval(values.mean(), bootstrap_means(values, draws=400)[:, 0], 200)
        hits += found.low <= 0.3 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


@given(
    st.lists(st.floats(-3, 3), min_size=2, max_size=6, unique=True), st.lists(st.floats(0, 1), min_size=6, max_size=6)
)
def test_slope_weights_are_least_squares(doses: list[float], rates: list[float]) -> None:
    if max(doses) - min(doses) < 1e-3:
        return
    expected = np.polyfit(doses, rates[: len(doses)], 1)[0]
    assert float(np.array(rates[: len(doses)]) @ slope_weights(doses)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_sign_flips_agree_with_all_permutations() -> None:
    from itertools import product

    differences = np.array([1.0, 1.0, 1.0, -1.0, 1.0, 0.0, 1.0, 1.0])
    moved = differences[differences != 0]
    sums = [abs(sum(s * d for s, d in zip(signs, moved, strict=True))) for signs in product((1, -1), repeat=len(moved))]
    exact = np.mean([total >= abs(moved.sum()) - 1e-9 for total in sums])
    assert sign_flip_test(differences) == pytest.approx(exact, abs=0.015)
    assert sign_flip_test(np.zeros(5)) == 1.0
    assert sign_flip_test(np.array([np.nan, 1.0])) == 1.0


def test_sign_flips_reject_about_as_often_as_they_should_without_an_effect() -> None:
    rng = np.random.default_rng(3)
    p = [sign_flip_test(rng.integers(-1, 2, size=100).astype(float), draws=300) for _ in range(300)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_mcnemar_is_the_binomial_test() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar_exact(14, 43) == pytest.approx(mcnemar_exact(43, 14))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("abc")), min_size=3, max_size=20))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    first, second = zip(*pairs, strict=True)
    if len({*first, *second}) > 1:
        assert cohen_kappa(first, second).value == pytest.approx(cohen_kappa_score(first, second), nan_ok=True)


def test_column_means_leave_unknown_entries_out() -> None:
    np.testing.assert_array_equal(
        column_means(np.array([[1.0, np.nan, np.nan], [0.0, 1.0, np.nan]])), [0.5, 1.0, np.nan]
    )
