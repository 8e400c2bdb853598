import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.sparse import state as path_state
from hneurons.sparse import sweeps as path_sweeps
from hneurons.sparse.matrix import ShardMatrix
from hneurons.sparse.path import fit_path
from support.damage import flip_bits
from support.sparse_data import make_data, write_shards


def scaled(X, path_scale=True):
    X = X.astype(np.float64)
    return (X - X.mean(0)) / X.std(0) if path_scale else X - X.mean(0)


def objective(X, y, weight, coef, intercept, lambda_):
    loss = np.logaddexp(0, (1 - 2 * y) * (X @ coef + intercept))
    return weight @ loss / weight.sum() + lambda_ * np.abs(coef).sum()


def full(path, point, columns):
    coef = np.zeros(columns)
    coef[path.columns] = path.coef[point]
    return coef


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(20, 80),
    columns=st.integers(3, 200),
    standardize=st.booleans(),
    balanced=st.booleans(),
)
def test_every_certified_point_obeys_the_optimality_conditions_in_float64(seed, rows, columns, standardize, balanced):
    X, y = make_data(rows, columns, seed=seed, signals=min(3, columns))
    path = fit_path(
        X, y, ratios=[0.8, 0.5, 0.3], standardize=standardize, class_weight="balanced" if balanced else None
    )
    Z = scaled(X, standardize)
    weight = rows / (2 * np.bincount(y))[y] if balanced else np.ones(rows)
    weight = weight / weight.sum()
    for point, lambda_ in enumerate(path.lambdas):
        chance = 1 / (1 + np.exp(-(X.astype(float) @ full(path, point, columns) + path.intercepts[point])))
        residual = weight * (y - chance)
        gradient = Z.T @ residual
        active = full(path, point, columns) != 0
        assert abs(residual.sum()) < 1e-3 * lambda_
        assert np.abs(gradient).max() <= lambda_ * (1 + 1e-3)
        assert np.allclose(gradient[active], lambda_ * np.sign(full(path, point, columns)[active]), rtol=1e-3)
        certificate = path.certificates[point]
        assert 0 <= certificate.gap < 1e-3 and certificate.violation <= 1e-4


def test_the_duality_gap_bounds_the_distance_to_an_independent_optimum():
    X, y = make_data(80, 12)
    path = fit_path(X, y, ratios=[0.5, 0.1])
    Z, weight = scaled(X), np.ones(80)
    for point, lambda_ in enumerate(path.lambdas):

        def split(theta, lambda_=lambda_):
            """The same problem with v = positive - negative part, smooth under bounds."""
            coef = theta[:12] - theta[12:24]
            linear = Z @ coef + theta[24]
            residual = (1 / (1 + np.exp(-linear)) - y) / 80
            value = np.logaddexp(0, (1 - 2 * y) * linear).mean() + lambda_ * theta[:24].sum()
            slope = Z.T @ residual
            return value, np.concatenate([slope + lambda_, -slope + lambda_, [residual.sum()]])

        bounds = [(0, None)] * 24 + [(None, None)]
        oracle = minimize(
            split,
            np.zeros(25),
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000},
        )
        coef = path.coef[point] * path.scale
        ours = objective(
            Z[:, path.columns], y, weight, coef, path.intercepts[point] + path.mean @ path.coef[point], lambda_
        )
        assert ours == pytest.approx(path.certificates[point].objective, abs=1e-7)
        assert ours <= oracle.fun + 1e-7
        assert oracle.fun >= ours - path.certificates[point].gap - 1e-9


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0}])
def test_parity_mode_agrees_with_liblinear(class_weight):
    X, y = make_data(150, 60)
    X = X * 20
    ours = fit_path(
        X, y, C=[0.3, 2.0], standardize=False, intercept="penalized", class_weight=class_weight, tolerance=1e-5
    )
    for point, C in enumerate([0.3, 2.0]):
        theirs = LogisticRegression(
            l1_ratio=1, solver="liblinear", C=C, class_weight=class_weight, tol=1e-8, max_iter=10_000
        ).fit(X.astype(np.float64), y)
        np.testing.assert_allclose(full(ours, point, 60), theirs.coef_[0], atol=2e-3)
        assert ours.intercepts[point] == pytest.approx(theirs.intercept_[0], abs=2e-3)
        assert ours.C[point] == pytest.approx(C)
        assert set(ours.support(point)) == set(np.flatnonzero(theirs.coef_[0]))


def test_the_first_lambda_below_the_largest_selects_and_the_largest_selects_nothing():
    X, y = make_data()
    path = fit_path(X, y, ratios=[1.001, 0.97])
    assert len(path.support(0)) == 0 and len(path.support(1)) >= 1
    assert path.intercepts[0] == pytest.approx(np.log(y.mean() / (1 - y.mean())), abs=1e-4)


def test_screening_starts_from_too_few_columns_and_still_ends_at_the_optimum(monkeypatch):
    X, y = make_data(100, 2000, strength=0.5)
    reference = fit_path(X, y)
    monkeypatch.setattr(path_sweeps, "BATCH", 100)
    monkeypatch.setattr(path_sweeps, "SLACK", 0.0)
    path = fit_path(X, y, memory=100_000)
    assert max(c.sweeps for c in path.certificates) > max(c.sweeps for c in reference.certificates)
    for point in range(len(reference.lambdas)):
        assert path.certificates[point].objective == pytest.approx(reference.certificates[point].objective, abs=1e-6)
        assert set(path.support(point)) == set(reference.support(point))


def test_shards_on_disk_give_the_path_of_the_array_in_memory(tmp_path):
    X, y = make_data(90, 300)
    write_shards(tmp_path, X, 3, rows_each=32)
    X = X.astype(np.float16).astype(np.float32)
    rows = np.arange(0, 90, 1)[::-1][:70]
    ours, theirs = fit_path(ShardMatrix(tmp_path, rows), y[rows], memory=200_000), fit_path(X[rows], y[rows])
    np.testing.assert_array_equal(ours.columns, theirs.columns)
    np.testing.assert_allclose(ours.coef, theirs.coef, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours.decide(ShardMatrix(tmp_path, rows)), theirs.decide(X[rows]), atol=1e-3)


def test_a_zero_sample_weight_is_the_same_as_leaving_the_row_out_of_the_loss():
    X, y = make_data()
    weight = (np.arange(120) % 3 > 0).astype(float)
    ours = fit_path(X, y, sample_weight=weight, standardize=False)
    theirs = fit_path(X[weight > 0], y[weight > 0], standardize=False)
    np.testing.assert_allclose(ours.coef @ X[:, ours.columns].T, theirs.coef @ X[:, theirs.columns].T, atol=1e-3)


def test_duplicated_and_constant_columns_change_neither_objective_nor_predictions():
    X, y = make_data(100, 50)
    plain = fit_path(X, y)
    wide = np.concatenate([X, X, np.zeros((100, 2), np.float32), np.full((100, 2), 7.25, np.float32)], axis=1)
    for standardize in (True, False):
        plain, doubled = fit_path(X, y, standardize=standardize), fit_path(wide, y, standardize=standardize)
        assert not set(doubled.columns) & set(range(100, 104))
        for one, other in zip(plain.certificates, doubled.certificates, strict=True):
            assert one.objective == pytest.approx(other.objective, abs=1e-6)
        np.testing.assert_allclose(plain.decide(X), doubled.decide(wide), atol=2e-2)


def test_separable_data_stop_at_the_feature_cap_with_a_clear_message():
    X, y = make_data(60, 3000, strength=3)
    path = fit_path(X, y, ratios=np.geomspace(0.9, 0.001, 30), max_features=15)
    assert 0 < len(path.lambdas) < 30
    assert all(len(path.support(point)) <= 15 for point in range(len(path.lambdas)))
    assert "more than 15 columns are selected (max_features)" in path.stopped
    X[:, 0] = y + 0.01 * X[:, 0]
    path = fit_path(X, y, ratios=np.geomspace(0.9, 1e-7, 40))
    assert 0 < len(path.lambdas) < 40 and "the classes are separated" in path.stopped


def test_a_planted_neuron_comes_first_and_pure_noise_does_not_pass_for_it():
    X, y = make_data(300, 5000, signals=1, strength=2.0)
    path = fit_path(X, y, ratios=[0.9])
    assert path.support(0).tolist() == [0]


def test_bad_values_labels_and_options_give_one_sentence():
    X, y = make_data()
    broken = X.copy()
    broken[17, 33] = np.nan
    with pytest.raises(InputError, match="row '17' holds nan in column 33"):
        fit_path(broken, y)
    with pytest.raises(NotEnoughDataError, match="both classes"):
        fit_path(X, np.zeros(120))
    with pytest.raises(InputError, match="labels must be 0 or 1"):
        fit_path(X, y + 1)
    with pytest.raises(InputError, match="120 rows of features but labels"):
        fit_path(X, y[:-1])
    with pytest.raises(InputError, match="standardize=False"):
        fit_path(X, y, intercept="penalized")
    with pytest.raises(InputError, match="ratios must be positive"):
        fit_path(X, y, ratios=[0.5, -1])
    with pytest.raises(InputError, match="fitted on 400 columns"):
        fit_path(X, y, ratios=[0.5]).decide(X[:, :-1])


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_fit_goes_on_at_its_last_sweep_and_ends_with_the_same_bytes(tmp_path, monkeypatch, after):
    X, y = make_data(100, 2000, strength=0.5)
    monkeypatch.setattr(path_sweeps, "BATCH", 100)
    whole = fit_path(X, y, memory=100_000, out=tmp_path / "whole")
    save, saves = path_state.StateStore.save, []

    def save_then_die(store, state):
        save(store, state)
        saves.append(state.done_sweeps)
        if state.done_sweeps == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(path_state.StateStore, "save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        fit_path(X, y, memory=100_000, out=tmp_path / "killed")
    resumed = fit_path(X, y, memory=100_000, out=tmp_path / "killed")
    assert saves == [*range(1, after + 1), *range(after + 1, saves[-1] + 1)] and saves[-1] > after
    for name in ("state.safetensors", "manifest.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    np.testing.assert_array_equal(whole.coef, resumed.coef)
    saves.clear()
    again = fit_path(X, y, memory=100_000, out=tmp_path / "killed")
    assert not saves
    np.testing.assert_array_equal(again.coef, whole.coef)
    with pytest.raises(ArtifactError, match="other settings"):
        fit_path(X, y, max_features=7, out=tmp_path / "killed")
    with pytest.raises(ArtifactError, match="input labels"):
        fit_path(X, 1 - y, out=tmp_path / "killed")
    state = tmp_path / "killed" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-5] ^= 1
    state.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"state\.safetensors was changed"):
        fit_path(X, y, memory=100_000, out=tmp_path / "killed")


def test_the_state_of_a_fit_with_other_settings_that_finished_nothing_is_not_gone_on_with(tmp_path, monkeypatch):
    X, y = make_data()
    save = path_state.StateStore.save

    def save_then_die(store, state):
        save(store, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(path_state.StateStore, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            fit_path(X, y, ratios=[0.5], out=tmp_path)
    raw = fit_path(X, y, ratios=[0.5], standardize=False, out=tmp_path)
    np.testing.assert_array_equal(raw.coef, fit_path(X, y, ratios=[0.5], standardize=False).coef)


def test_a_damaged_state_of_an_unfinished_fit_is_named(tmp_path, monkeypatch):
    X, y = make_data()
    monkeypatch.setattr(path_state.StateStore, "finish", lambda store, state: None)
    fit_path(X, y, ratios=[0.5], out=tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match=r"state\.safetensors was changed"):
        fit_path(X, y, ratios=[0.5], out=tmp_path)


@pytest.mark.slow
def test_one_flipped_bit_in_the_state_of_an_unfinished_or_finished_fit_is_refused(tmp_path, monkeypatch):
    X, y = make_data()
    with monkeypatch.context() as patch:
        patch.setattr(path_state.StateStore, "finish", lambda store, state: None)
        fit_path(X, y, ratios=[0.5], out=tmp_path / "unfinished")
    fit_path(X, y, ratios=[0.5], out=tmp_path / "finished")
    for name in ("unfinished", "finished"):
        for _ in flip_bits(tmp_path / name / "state.safetensors", 60):
            with pytest.raises(ArtifactError, match=r"state\.safetensors was changed"):
                fit_path(X, y, ratios=[0.5], out=tmp_path / name)
