import numpy as np
import pytest

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.stats import auroc
from hneurons.sparse.cross_validation import cross_validate_path, split_groups
from hneurons.sparse.matrix import ShardMatrix
from hneurons.sparse.path import fit_path
from support.sparse_data import make_data, write_shards

RATIOS = [0.8, 0.5, 0.3]


def test_every_fold_is_the_fit_on_its_training_rows_alone():
    X, y = make_data(120, 300, strength=1.5)
    result = cross_validate_path(X, y, list(range(120)), folds=4, ratios=RATIOS, class_weight="balanced")
    for fold in range(4):
        train, test = result.folds != fold, result.folds == fold
        alone = fit_path(X[train], y[train], C=1 / (result.path.lambdas * train.sum()), class_weight="balanced")
        np.testing.assert_allclose(result.decisions[:, test], alone.decide(X[test]), atol=5e-3)
        for point in range(3):
            expected = auroc(y[test], alone.decide(X[test])[point])
            assert result.scores["auroc"][fold, point] == pytest.approx(expected, abs=0.01)
    whole = fit_path(X, y, ratios=RATIOS, class_weight="balanced")
    np.testing.assert_allclose(result.path.coef, whole.coef, rtol=1e-2, atol=1e-2)


def test_no_group_is_divided_and_labels_are_spread_evenly():
    groups = np.repeat(np.arange(40), 3)
    y = np.repeat(np.arange(40) % 2, 3).astype(float)
    folds = split_groups(y, groups, 5, seed=1)
    assert all(len(set(folds[groups == group])) == 1 for group in range(40))
    assert all(y[folds == fold].mean() == pytest.approx(0.5, abs=0.13) for fold in range(5))
    with pytest.raises(NotEnoughDataError, match="3 groups cannot be held out in 5 folds"):
        split_groups(y, np.arange(120) % 3, 5, seed=0)
    with pytest.raises(InputError, match="one group a row"):
        split_groups(y, groups[1:], 5, seed=0)


def test_noise_is_not_predicted_and_a_planted_signal_is():
    X, _ = make_data(200, 800)
    noise = np.random.default_rng(5).permutation(np.arange(200) % 2)
    result = cross_validate_path(X, noise, list(range(200)), ratios=RATIOS)
    assert abs(np.nanmean(result.mean("auroc")) - 0.5) < 0.12
    X, y = make_data(200, 800, strength=1.5)
    result = cross_validate_path(X, y, list(range(200)), ratios=RATIOS)
    assert result.mean("auroc").max() > 0.75
    assert result.mean("accuracy").max() > 0.65


def test_rows_that_repeat_within_a_question_do_not_leak_across_folds():
    """Each question's rows are copies: held-out copies would be remembered, held-out questions cannot be."""
    X, _ = make_data(60, 2000)
    y = np.random.default_rng(3).permutation(np.arange(60) % 2)
    X, y, groups = np.repeat(X, 3, axis=0), np.repeat(y, 3), np.repeat(np.arange(60), 3)
    honest = cross_validate_path(X, y, groups, ratios=RATIOS).mean("auroc")[-1]
    leaky = cross_validate_path(X, y, list(range(180)), ratios=RATIOS).mean("auroc")[-1]
    assert leaky > 0.9 and honest < 0.75


def test_one_standard_error_chooses_no_denser_a_model_than_the_best():
    X, y = make_data(150, 500, strength=0.7)
    result = cross_validate_path(X, y, list(range(150)))
    for criterion in ("log_loss", "auroc", "accuracy"):
        best, sparse = result.choose(criterion), result.choose(criterion, rule="one_se")
        goodness = result.mean(criterion) * (-1 if criterion == "log_loss" else 1)
        assert goodness[best] == np.nanmax(goodness)
        assert sparse <= best and goodness[sparse] >= goodness[best] - result.error(criterion)[best]
    with pytest.raises(InputError, match="known are accuracy, auroc, log_loss"):
        result.choose("f1")


def test_points_a_fold_did_not_reach_are_missing_not_zero():
    X, y = make_data(60, 2000, strength=3)
    result = cross_validate_path(X, y, list(range(60)), folds=3, ratios=np.geomspace(0.9, 0.05, 8), max_features=12)
    assert result.path.stopped
    for fold in range(3):
        gone = np.isnan(result.decisions[:, result.folds == fold]).all(axis=1)
        for values in result.scores.values():
            np.testing.assert_array_equal(np.isnan(values[fold]), gone)
    assert not np.isnan(result.mean("auroc")[result.choose("auroc")])


def test_a_finished_cross_validation_is_read_back_from_its_folder(tmp_path):
    X, y = make_data(80, 90)
    write_shards(tmp_path / "features", X, 3)
    matrix = ShardMatrix(tmp_path / "features")
    groups = [row["question_id"] for row in matrix.rows]
    first = cross_validate_path(matrix, y, groups, ratios=RATIOS, out=tmp_path / "cv")
    again = cross_validate_path(matrix, y, groups, ratios=RATIOS, out=tmp_path / "cv")
    np.testing.assert_array_equal(first.decisions, again.decisions)
    np.testing.assert_array_equal(first.path.coef, again.path.coef)
