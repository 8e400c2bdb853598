"""Scores that read the model's inside: ridge against plain refits, and each signal found where it was planted."""

import numpy as np
import pytest

from hneurons.core.stats import auroc
from hneurons.detection.answer_rows import Dataset, answer_rows
from hneurons.detection.ridge import fit_ridge, products_of, products_of_arrays, refit_dual
from hneurons.detection.scores import SCORES, score_rows
from hneurons.detection.scores.mahalanobis import Mahalanobis
from hneurons.detection.scores.residual import choose_state
from hneurons.sparse.cross_validation import split_groups
from hneurons.sparse.matrix import ArrayMatrix
from support.planted import make_dataset, plant_states

PROBES = {"residual probe", "SAPLMA", "Mahalanobis distance"}
BEFORE = {"residual probe, before the answer", "all neurons, before the answer"}


def areas(train: Dataset, test: Dataset) -> dict[str, float]:
    known, new = answer_rows(train, "train"), answer_rows(test, "new")
    return {one.method: auroc(new.labels, one.decided.values) for one in score_rows(known, new)[0]}


@pytest.mark.slow
def test_a_signal_in_the_residual_stream_is_found_by_the_probes_alone() -> None:
    train = plant_states(make_dataset(160), strength=5.0)
    test = plant_states(make_dataset(120, prefix="t", seed=4), strength=5.0, seed=4)
    found = areas(train, test)
    assert set(found) >= PROBES | BEFORE
    assert choose_state(answer_rows(train, "train"), ("answer mean", "answer end"))[:2] == ("answer mean", 2)
    assert found["residual probe"] > 0.95 and found["Mahalanobis distance"] > 0.6
    for name in BEFORE | {"all neurons, ridge", "SAPLMA"}:  # SAPLMA reads the answer's last token, where nothing is
        assert abs(found[name] - 0.5) < 0.17, name


@pytest.mark.slow
def test_a_signal_in_the_neurons_is_found_by_ridge_on_the_neurons_alone() -> None:
    planted = {(0, 7): 4.0}
    train = plant_states(make_dataset(160, planted=planted), strength=0.0)
    test = plant_states(make_dataset(120, planted=planted, prefix="t", seed=4), strength=0.0, seed=4)
    found = areas(train, test)
    assert found["all neurons, ridge"] > 0.85
    for name in PROBES | BEFORE:
        assert abs(found[name] - 0.5) < 0.17, name


@pytest.mark.slow
def test_without_states_these_scores_are_left_out_by_name_and_token_entropies_come_from_states() -> None:
    train, test = make_dataset(40), make_dataset(40, prefix="t", seed=4)
    rows = answer_rows(train, "train"), answer_rows(test, "new")
    left_out = score_rows(*rows)[1]
    assert {left_out[name] for name in PROBES | BEFORE} == {"no residual states are stored"}
    assert "no token entropies" in left_out["mean token entropy"]
    found = areas(plant_states(train, strength=1.0), plant_states(test, strength=1.0))
    assert "mean token entropy" in found and set(found) >= PROBES


def test_held_out_values_of_ridge_are_those_of_refits_without_the_fold() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 50)), np.arange(30) % 2 == 0
    groups = [f"g{i // 2}" for i in range(30)]
    products = products_of_arrays(features, []).train
    ridge = fit_ridge(products, labels, groups, seed=3)
    folds = split_groups(labels.astype(float), groups, 5, 3)
    target = np.where(labels, 0.5 / labels.mean(), -0.5 / (1 - labels.mean()))
    for fold in range(5):
        kept, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        dual = np.linalg.solve(products[np.ix_(kept, kept)] + ridge.penalty * np.eye(len(kept)), target[kept])
        np.testing.assert_allclose(ridge.held_out[out], products[np.ix_(out, kept)] @ dual, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(refit_dual(products, labels, np.arange(30), ridge.penalty), ridge.dual, rtol=1e-6)


def test_products_by_blocks_are_those_of_standardised_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    train, test = rng.normal(3, 2, size=(12, 40)).astype(np.float32), rng.normal(size=(5, 40)).astype(np.float32)
    train[:, 4] = 1.0
    expected = products_of_arrays(train.astype(float), [test.astype(float)])
    monkeypatch.setattr("hneurons.detection.ridge._MEMORY", 4 * 17 * 7)
    found = products_of(ArrayMatrix(train), [ArrayMatrix(test)])
    np.testing.assert_allclose(found.train, expected.train, atol=1e-5)
    np.testing.assert_allclose(found.tests[0], expected.tests[0], atol=1e-4)


def test_other_labels_choose_the_place_in_the_residual_stream_anew() -> None:
    rows = answer_rows(plant_states(make_dataset(80), strength=5.0), "train")
    chosen = choose_state(rows, ("answer mean",))
    permuted = rows._replace(labels=np.random.default_rng(3).permutation(rows.labels))
    assert chosen.ridge.area > 0.9 > choose_state(permuted, ("answer mean",)).ridge.area
    assert choose_state(rows, ("answer mean",)) is chosen
    both = [choose_state(rows, (place,)).ridge.area for place in ("answer mean", "answer end")]  # type: ignore[arg-type]
    assert choose_state(rows, ("answer mean", "answer end")).ridge.area == max(both)


@pytest.mark.slow
@pytest.mark.parametrize("right", [1, 3, 119])
def test_a_class_of_few_training_answers_breaks_no_score(right: int) -> None:
    train = answer_rows(plant_states(make_dataset(120), strength=1.0), "train")
    test = answer_rows(plant_states(make_dataset(40, prefix="t", seed=4), strength=1.0, seed=4), "new")
    few = train._replace(labels=np.arange(len(train.labels)) >= right)
    for scored in score_rows(few, test)[0]:
        assert np.isfinite(scored.decided.values).all(), scored.method


REFITTED = {
    "answer length", "question only", "mean log-probability", "residual probe", "all neurons, ridge", "SAPLMA",
    "Mahalanobis distance", *BEFORE,
}  # fmt: skip


def test_a_refit_on_every_row_once_is_the_fit_and_on_other_rows_another() -> None:
    train = answer_rows(plant_states(make_dataset(60), strength=1.0), "train")
    test = answer_rows(plant_states(make_dataset(20, prefix="t", seed=4), strength=1.0, seed=4), "new")
    decided, found = {one.method: one.decided.values for one in score_rows(train, test)[0]}, set()
    some = np.random.default_rng(1).integers(60, size=60)
    for name in decided:
        refit = SCORES.get(name)().refitter(train, test)
        if refit is not None:
            found.add(name)
            np.testing.assert_allclose(refit(np.arange(60)), decided[name], rtol=1e-6, atol=1e-6)
            if np.std(decided[name]) > 0:  # these answers are all alike in length, log-probabilities and question
                assert not np.allclose(refit(some), decided[name])
    assert found == REFITTED


def test_the_threshold_of_mahalanobis_distance_calls_about_as_many_wrong_as_there_are() -> None:
    """Distances to half of the right answers are larger than those to all: a threshold from them flags too few."""
    flagged = []
    for seed in range(4):
        train = plant_states(make_dataset(60, seed=seed), strength=3.0, hidden=32, seed=seed)
        test = plant_states(make_dataset(200, prefix="t", seed=9 + seed), strength=3.0, hidden=32, seed=9 + seed)
        found = Mahalanobis().decide(answer_rows(train, "train"), answer_rows(test, "new"))
        flagged.append((found.values > found.threshold).mean())
    assert 0.35 < np.mean(flagged) < 0.65
