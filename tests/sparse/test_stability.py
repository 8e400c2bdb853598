import numpy as np
import pytest

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.sparse import sweeps as path_sweeps
from hneurons.sparse.path import fit_path
from hneurons.sparse.stability import select_stability, split_halves
from support.sparse_data import make_data

RATIOS = [0.7, 0.4]


def test_probabilities_are_the_selection_frequencies_of_separate_fits():
    X, y = make_data(100, 200, strength=1.5)
    result = select_stability(X, y, list(range(100)), n_subsamples=10, ratios=RATIOS, standardize=False, seed=3)
    counts = np.zeros((2, 200))
    sizes = []
    for mask in split_halves(list(range(100)), 100, 5, 3):
        alone = fit_path(X[mask], y[mask], C=1 / (result.lambdas * mask.sum()), standardize=False)
        chosen = np.zeros((2, 200), dtype=bool)
        chosen[:, alone.columns] = alone.coef != 0
        counts += chosen
        sizes.append(chosen.any(axis=0).sum())
    expected = np.zeros((2, 200))
    expected[:, result.columns] = result.probabilities
    assert np.abs(expected - counts / 10).max() <= 0.1 + 1e-12  # a coefficient at the edge of zero may differ
    assert (expected == counts / 10).mean() > 0.99
    assert np.abs(result.sizes - sizes).max() <= 2
    np.testing.assert_array_equal(result.probability, result.probabilities.max(axis=0))


def test_halves_are_complementary_and_keep_questions_whole():
    groups = np.repeat([f"q{i}" for i in range(21)], 3)
    masks = split_halves(groups, 63, 6, seed=0)
    assert masks.shape == (12, 63)
    for first, second in zip(masks[::2], masks[1::2], strict=True):
        assert not (first & second).any() and first.sum() == second.sum() == 30
        assert all(len(set(mask[groups == group])) == 1 for mask in (first, second) for group in set(groups))
    assert (masks[0] != masks[2]).any()
    np.testing.assert_array_equal(masks, split_halves(groups, 63, 6, seed=0))
    assert (masks != split_halves(groups, 63, 6, seed=1)).any()


def test_planted_neurons_are_stable_and_noise_is_not():
    X, y = make_data(400, 3000, signals=3, strength=1.5)
    result = select_stability(X, y, list(range(400)), n_subsamples=20, ratios=[0.6, 0.45])
    probability = np.zeros(3000)
    probability[result.columns] = result.probability
    assert probability[:3].min() >= 0.75
    assert probability[3:].max() < 0.75 and probability[3:].mean() < 0.02


def test_fewer_noise_columns_pass_than_the_bound_allows():
    X, _ = make_data(200, 1000)
    false, bounds = [], []
    for seed in range(6):
        y = np.random.default_rng(seed).permutation(np.arange(200) % 2)
        result = select_stability(X, y, list(range(200)), n_subsamples=20, ratios=[0.9, 0.8], seed=seed)
        false.append(len(result.select(0.75)))
        bounds.append(result.expected_false_selections(0.75))
        q = result.sizes.mean()
        assert bounds[-1] == pytest.approx(q**2 / (0.5 * 1000))
    assert np.mean(false) <= np.mean(bounds) + 0.5


def test_a_threshold_that_bounds_nothing_and_odd_counts_are_refused():
    X, y = make_data(60, 50)
    result = select_stability(X, y, list(range(60)), n_subsamples=2, ratios=RATIOS)
    with pytest.raises(InputError, match=r"above 0\.5"):
        result.expected_false_selections(0.5)
    with pytest.raises(InputError, match="must be even"):
        select_stability(X, y, list(range(60)), n_subsamples=3)
    with pytest.raises(NotEnoughDataError, match="too few to halve"):
        select_stability(X, y, [0] * 60, n_subsamples=2)
    with pytest.raises(NotEnoughDataError, match="both classes are needed in every fit"):
        select_stability(X[:40], [1] + [0] * 39, list(range(40)), n_subsamples=2)


def test_small_candidate_lists_end_in_the_same_certified_fits(monkeypatch):
    X, y = make_data(120, 1500, strength=1.0)
    reference = select_stability(X, y, list(range(120)), n_subsamples=6, ratios=RATIOS, tolerance=1e-4)
    monkeypatch.setattr(path_sweeps, "BATCH", 20)
    monkeypatch.setattr(path_sweeps, "SLACK", 0.0)
    scarce = select_stability(X, y, list(range(120)), n_subsamples=6, ratios=RATIOS, tolerance=1e-4, memory=200_000)
    np.testing.assert_array_equal(reference.columns, scarce.columns)
    np.testing.assert_array_equal(reference.probabilities, scarce.probabilities)


def test_an_interrupted_selection_ends_with_the_same_bytes(tmp_path, monkeypatch):
    X, y = make_data(80, 500)
    options = {"groups": list(range(80)), "n_subsamples": 4, "ratios": RATIOS}
    whole = select_stability(X, y, out=tmp_path / "whole", **options)
    real = path_sweeps._certify

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(path_sweeps, "_certify", fail)
    with pytest.raises(KeyboardInterrupt):
        select_stability(X, y, out=tmp_path / "killed", **options)
    monkeypatch.setattr(path_sweeps, "_certify", real)
    resumed = select_stability(X, y, out=tmp_path / "killed", **options)
    np.testing.assert_array_equal(whole.probabilities, resumed.probabilities)
    for name in ("state.safetensors", "manifest.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
