"""Stage evaluate: what is refused, what one class gives, intervals that hold, controls beside the detector."""

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.answers.questions import question_marks
from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.stats import auroc, bootstrap, bootstrap_aurocs
from hneurons.detection import like_for_like
from hneurons.detection.answer_rows import Dataset, refit
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import evaluate_detector, load_evaluation
from hneurons.detection.fitting import fit_detector
from support.planted import make_dataset, make_example, make_identity, read_tree

PLANTED = {(0, 7): 1.2, (2, 31): 1.0}
BLIND = [
    "answer length",
    "question only",
    "mean log-probability",
    "minimum log-probability",
    "perplexity",
    "sum of log-probabilities",
]
RIVALS = [*BLIND, "all neurons, ridge"]


@pytest.fixture(scope="module")
def train() -> Dataset:
    return make_dataset(120, planted=PLANTED)


@pytest.fixture(scope="module")
def detector(train: Dataset) -> Detector:
    return fit_detector(train.contributions, subsamples=0)


def refitted(detector: Detector) -> list[str]:
    """Names of the detector's neurons fitted anew: all of them, where some have negative weight, and H-neurons."""
    negative = len(detector.columns) > len(detector.neuron_set())
    return [*(["all its neurons, refitted"] if negative else []), "H-neurons, refitted"]


def make_test(questions: int = 100, **options: Any) -> Dataset:
    return make_dataset(questions, planted=PLANTED, prefix="t", **{"seed": 50, **options})


def test_scores_are_those_of_the_detectors_decisions(detector: Detector, train: Dataset) -> None:
    test = make_test()
    result = evaluate_detector(detector, train, {"new": test}, draws=20)["new"]
    answers = [i for i, row in enumerate(test.contributions.rows) if row["region"] == "answer"]
    decided = detector.decide(test.contributions.matrix(answers))
    by_id = {e.id: e.hallucinated for e in test.examples}
    labels = np.array([by_id[test.contributions.rows[i]["example_id"]] for i in answers])
    assert result.detector.accuracy.value == pytest.approx(np.mean((decided > detector.threshold) == labels))
    assert result.detector.auroc.value == pytest.approx(auroc(labels, decided))
    assert (result.right, result.wrong, result.not_located) == (50, 50, 0)
    assert [s.method for s in result.scores] == ["H-neuron detector", *refitted(detector), *RIVALS]
    for score in result.scores:
        assert score.accuracy.low <= score.accuracy.value <= score.accuracy.high
        assert score.auroc.n == score.accuracy.n == 100
    assert {(i, h) for i, h, _ in result.items} == set(by_id.items())
    false_rate, true_rate = map(np.array, result.roc)
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(result.detector.auroc.value, abs=1e-3)


@pytest.mark.slow
def test_h_neurons_beat_as_many_random_ones_and_blind_baselines_know_nothing(
    detector: Detector, train: Dataset
) -> None:
    result = evaluate_detector(detector, train, {"new": make_test(200)}, draws=20)["new"]
    assert result.random.draws == 20 and result.random.size == len(detector.neuron_set())
    mean, low, high = result.random.auroc
    assert low < mean < high < result.detector.auroc.low
    assert low < 0.5 + 0.1 and abs(mean - 0.5) < 0.1
    for score in (s for s in result.scores if s.method in BLIND):
        assert score.auroc.low <= 0.5 <= score.auroc.high


def test_differences_are_those_of_the_methods_and_narrower_than_unpaired_ones(
    detector: Detector, train: Dataset
) -> None:
    result = evaluate_detector(detector, train, {"new": make_test(200)}, draws=20)["new"]
    area = {s.method: s.auroc for s in result.scores}
    own, again = "H-neuron detector", "H-neurons, refitted"
    pairs = {"all its neurons, refitted": "random neurons, as many as all its", again: "random neurons"}
    fitted = refitted(detector)
    assert [(d.method, d.against) for d in result.differences] == [
        *((own, other) for other in [*fitted, *RIVALS]), *((one, pairs[one]) for one in fitted)
    ]  # fmt: skip
    means = {one.like: one.auroc[0] for one, _ in result.like_for_like}
    for d in result.differences:
        other = means[d.method] if d.against in pairs.values() else area[d.against].value
        assert d.auroc.value == pytest.approx(area[d.method].value - other)
        assert d.auroc.low <= d.auroc.value <= d.auroc.high and d.auroc.n == 200
    pair = result.difference(own, again)
    assert pair is not None and result.difference(own, "nothing") is None
    assert pair.high - pair.low < 0.7 * (area[own].high - area[own].low)


def with_negative(detector: Detector, columns: list[int]) -> Detector:
    """The detector with further neurons, of negative weight."""
    more = len(columns)
    return replace(
        detector,
        columns=np.concatenate([detector.columns, columns]),
        coef=np.concatenate([detector.coef, -np.ones(more)]),
        scale=np.concatenate([detector.scale, np.ones(more)]),
        selection_probability=np.full(len(detector.columns) + more, np.nan),
    )


def test_random_neurons_are_as_many_fitted_alike_and_none_of_the_detectors(
    detector: Detector, train: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    positive = detector.neuron_set().columns
    free = [c for c in range(120) if c not in detector.columns]
    both, seen = with_negative(detector, free[:9]), []

    def spy(train: Any, test: Any, columns: Any) -> Any:
        seen.append(np.asarray(columns))
        return refit(train, test, columns)

    monkeypatch.setattr(like_for_like, "refit", spy)
    result = evaluate_detector(both, train, {"new": make_test(60)}, draws=5)["new"]
    sizes = [len(both.columns), len(positive)]
    assert [len(c) for c in seen] == [sizes[0]] * 6 + [sizes[1]] * 6
    drawn = [*seen[:5], *seen[6:11]]
    assert all(not set(c.tolist()) & set(both.columns.tolist()) for c in drawn)
    assert sorted(seen[5].tolist()) == sorted(both.columns.tolist())
    assert [(one.size, one.draws, one.like) for one, _ in result.like_for_like] == [
        (sizes[0], 5, "all its neurons, refitted"), (sizes[1], 5, "H-neurons, refitted")
    ]  # fmt: skip


def test_an_evaluation_belongs_to_one_detector(detector: Detector, train: Dataset, tmp_path: Path) -> None:
    tests = {"new": make_test(40)}
    evaluate_detector(detector, train, tests, draws=1, out=tmp_path)
    assert load_evaluation(tmp_path, detector=detector)["new"].detector_content == detector.content
    turned, moved = replace(detector, coef=-50 * detector.coef), replace(detector, columns=detector.columns + 1)
    for other in (turned, moved, replace(detector, settings={**detector.settings, "seed": 9})):
        with pytest.raises(ArtifactError, match="of another detector than this one"):
            load_evaluation(tmp_path, detector=other)
        with pytest.raises(ArtifactError, match="input detector was"):
            evaluate_detector(other, train, tests, draws=1, out=tmp_path)


def test_resampled_aurocs_are_those_of_the_drawn_rows_with_whole_groups_and_ties() -> None:
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 12, 30).tolist()
    labels, scores = rng.random(30) < 0.4, rng.integers(0, 6, (30, 3)).astype(float)
    found = bootstrap_aurocs(labels, scores, groups=groups, seed=7, draws=40)
    names = list(dict.fromkeys(groups))
    drawn = np.random.default_rng(7).integers(0, len(names), size=(40, len(names)))
    for row, numbers in zip(found, drawn, strict=True):
        rows = np.concatenate([np.flatnonzero(np.array(groups) == names[i]) for i in numbers])
        expected = [auroc(labels[rows], column[rows]) for column in scores.T]
        np.testing.assert_allclose(row, expected)
    assert np.isnan(bootstrap_aurocs(labels | True, scores, groups=groups, draws=5)).all()


def test_questions_about_one_fact_are_drawn_together(detector: Detector, train: Dataset) -> None:
    test = make_test()
    paired = [replace(e, question=replace(e.question, fact=f"t{i // 2}")) for i, e in enumerate(test.examples)]
    result = evaluate_detector(detector, train, {"new": test._replace(examples=paired)}, draws=1)["new"]
    assert result.detector.auroc.n == result.detector.accuracy.n == result.differences[0].auroc.n == 50


def test_a_question_that_was_trained_on_is_refused(detector: Detector, train: Dataset) -> None:
    with pytest.raises(InputError, match="120 questions of the test set 'same' were trained on"):
        evaluate_detector(detector, train, {"new": make_test(), "same": train})


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_test_set_of_one_class_has_a_flagged_share_and_no_auroc(
    detector: Detector, train: Dataset, tmp_path: Path, share: float
) -> None:
    test = make_test(40, wrong_share=share)
    result = evaluate_detector(detector, train, {"one": test}, draws=3, out=tmp_path)["one"]
    flagged = np.mean([score > detector.threshold for _, _, score in result.items])
    assert result.detector.accuracy.value == pytest.approx(flagged if share else 1 - flagged)
    assert 0 <= result.detector.accuracy.low < result.detector.accuracy.high <= 1
    for score in result.scores:
        assert all(map(math.isnan, (score.auroc.value, score.auroc.low, score.auroc.high)))
    assert all(map(math.isnan, result.random.auroc)) and not any(map(math.isnan, result.random.accuracy))
    assert result.roc == ((), ())
    loaded = load_evaluation(tmp_path)["one"]
    assert (loaded.roc, loaded.items, loaded.detector.accuracy) == (
        result.roc,
        result.items,
        result.detector.accuracy,
    )


def test_a_training_set_of_one_class_and_a_test_set_without_answers_are_refused(
    detector: Detector, train: Dataset
) -> None:
    with pytest.raises(NotEnoughDataError, match="'train' has 30 located answers, all of one class"):
        evaluate_detector(detector, make_dataset(30, wrong_share=1.0, prefix="u"), {"new": make_test()})
    test = make_test(10)
    unlocated = replace(test.contributions, rows=[r for r in test.contributions.rows if r["region"] == "other"])
    with pytest.raises(NotEnoughDataError, match="'new' has no located answers"):
        evaluate_detector(detector, train, {"new": Dataset(test.examples, unlocated)})


def test_ten_answers_are_warned_of_and_four_are_refused(
    detector: Detector, train: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate_detector(detector, train, {"enough": make_test(20)}, draws=1)
        assert not caplog.text
        evaluate_detector(detector, train, {"ten": make_test(10)}, draws=1)
    assert "'ten': 5 right and 5 wrong answers are too few: intervals from fewer than 10" in caplog.text
    with pytest.raises(NotEnoughDataError, match="'four' has 4 located answers, and nothing can be said from fewer"):
        evaluate_detector(detector, train, {"four": make_test(4)}, draws=1)


def test_contributions_of_another_model_or_other_examples_are_refused(detector: Detector, train: Dataset) -> None:
    other = make_test(identity=make_identity((3, 40), weights="other"))
    with pytest.raises(InputError, match="weights: w against other"):
        evaluate_detector(detector, train, {"new": other})
    with pytest.raises(InputError, match="contributions of 'new' are of other examples"):
        evaluate_detector(detector, train, {"new": Dataset(make_test(seed=3).examples[1:], make_test().contributions)})


def test_examples_that_were_not_located_are_counted(detector: Detector, train: Dataset) -> None:
    test = make_test()
    extra = [*test.examples, make_example("x", wrong=True, token_span=None)]
    assert (
        evaluate_detector(detector, train, {"new": Dataset(extra, test.contributions)}, draws=1)["new"].not_located == 1
    )


@pytest.mark.slow
def test_a_finished_evaluation_is_read_again_and_other_settings_are_refused(
    detector: Detector, train: Dataset, tmp_path: Path
) -> None:
    tests = {"new": make_test(), "more": make_test(60, seed=8)}
    first = evaluate_detector(detector, train, tests, draws=4, out=tmp_path / "a")
    assert evaluate_detector(detector, train, tests, draws=4, out=tmp_path / "a") == first
    assert load_evaluation(tmp_path / "a") == first
    evaluate_detector(detector, train, tests, draws=4, out=tmp_path / "b")
    assert read_tree(tmp_path / "a") == read_tree(tmp_path / "b")
    with pytest.raises(ArtifactError, match="draws was 4, now 5"):
        evaluate_detector(detector, train, tests, draws=5, out=tmp_path / "a")
    with pytest.raises(ArtifactError, match="input more was"):
        evaluate_detector(detector, train, {"new": tests["new"]}, draws=4, out=tmp_path / "a")


def test_an_evaluation_that_is_damaged_unfinished_or_none_is_one_sentence(
    detector: Detector, train: Dataset, tmp_path: Path
) -> None:
    evaluate_detector(detector, train, {"new": make_test()}, draws=1, out=tmp_path)
    path = tmp_path / "evaluation.json"
    for content in ("", "[]", json.dumps({"new": {}}), "\x00"):
        path.write_text(content)
        with pytest.raises(ArtifactError, match=r"run '?(evaluate'|the command that made it) again"):
            load_evaluation(tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"run '?(evaluate'|the command that made it) again"):
        load_evaluation(tmp_path)
    with pytest.raises(InputError):
        load_evaluation(tmp_path / "none")


def test_more_h_neurons_than_others_still_have_random_ones_beside_them(train: Dataset) -> None:
    size = train.contributions.shape[0] * train.contributions.shape[1]
    rng = np.random.default_rng(0)
    everything = Detector(
        make_identity((3, 40)),
        np.arange(size - 10),
        rng.random(size - 10),
        np.ones(size - 10),
        np.full(size - 10, np.nan),
        0.0,
        0.0,
        {},
        {},
    )
    result = evaluate_detector(everything, train, {"new": make_test(20)}, draws=2)["new"]
    assert (result.random.draws, result.random.size) == (2, 10)


def test_an_empty_neuron_set_is_evaluated_as_such(train: Dataset) -> None:
    none = fit_detector(train.contributions, C=1e-6, subsamples=0)
    result = evaluate_detector(none, train, {"new": make_test(20)}, draws=2)["new"]
    assert result.detector.auroc.value == 0.5 and result.random.draws == 0
    assert "H-neurons, refitted" not in {s.method for s in result.scores}


@pytest.mark.slow
def test_intervals_contain_the_truth_about_as_often_as_they_say() -> None:
    """Normal scores of two classes, two rows a question; AUROC of the population is Phi(shift / sqrt 2)."""
    from scipy.stats import norm

    shift, covered, runs = 1.0, 0, 60
    truth = norm.cdf(shift / np.sqrt(2))
    for run in range(runs):
        rng = np.random.default_rng(run)
        question = np.repeat(rng.normal(size=60), 2)
        labels = np.repeat(np.arange(60) % 2, 2)
        scores = shift * labels + np.sqrt(0.7) * question + np.sqrt(0.3) * rng.normal(size=120)
        groups = np.repeat(np.arange(60), 2).tolist()
        estimate = bootstrap(lambda r, y=labels, s=scores: auroc(y[r], s[r]), 120, groups=groups, draws=200)
        covered += estimate.low <= truth <= estimate.high
    assert covered / runs > 0.85


def test_ten_answers_told_apart_perfectly_are_no_certainty(detector: Detector, train: Dataset) -> None:
    """Nothing can be resampled where all answers are judged right, so the interval is what so few leave open."""
    clear = make_dataset(10, planted={(0, 7): 40.0, (2, 31): 40.0}, prefix="t", seed=3)
    result = evaluate_detector(replace(detector, threshold=0.0), train, {"new": clear}, draws=2)["new"]
    assert result.detector.auroc.value == 1.0
    assert result.detector.auroc.low < 0.6 and result.detector.auroc.high == 1.0
    found = [e for s in result.scores for e in (s.accuracy, s.auroc)] + [d.auroc for d in result.differences]
    assert all(estimate.high - estimate.low > 0.1 for estimate in found)


def test_answers_to_questions_that_the_detector_was_fitted_on_are_left_out_and_counted(
    detector: Detector, train: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    test = make_test()
    seen = [e.question for e in test.examples[:40]]
    knowing = replace(detector, fitted_on=frozenset[str]().union(*map(question_marks, seen)))
    result = evaluate_detector(knowing, train, {"new": test}, draws=1)["new"]
    assert {name for name, *_ in result.items} == {e.id for e in test.examples[40:]}
    assert result.right + result.wrong == 60 and result.not_located == 0
    assert "'new': 40 answers to questions that the detector was fitted on: left out" in caplog.text
