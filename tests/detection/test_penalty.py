"""The choice of the penalty: on answers alone, on a path that is long enough, and doubted where there is no signal."""

import logging
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from hneurons.core.stats import auroc
from hneurons.detection import penalty
from hneurons.detection.answer_rows import even_odds
from hneurons.detection.detector import Detector
from hneurons.detection.fitting import doubt_signal, fit_detector, training_rows
from hneurons.detection.penalty import answer_losses, validate_path
from hneurons.sparse.cross_validation import CrossValidation, cross_validate_path
from support.planted import make_dataset

DIFFUSE = {(int(i) // 40, int(i) % 40): 0.9 for i in np.random.default_rng(0).choice(120, 12, replace=False)}


def validated(decisions: Any, folds: Any) -> CrossValidation:
    return CrossValidation(None, {"log_loss": np.zeros((2, len(decisions)))}, np.array(decisions), np.array(folds))  # type: ignore[arg-type]


def test_rows_of_other_tokens_and_the_intercept_do_not_decide_on_the_penalty() -> None:
    """With the paper's labels the easiest gain is to tell answers from other tokens."""
    rng = np.random.default_rng(0)
    is_answer = np.arange(80) % 2 == 0
    positive = (is_answer & (np.arange(80) % 4 == 0)).astype(np.int64)
    folds = np.repeat([0, 1], 40)
    telling = rng.normal(size=80) + 2 * positive
    blind = np.where(is_answer, rng.normal(size=80), -9)  # sure of other tokens, blind to wrong answers
    losses = answer_losses(validated([telling, blind, telling - 3], folds), positive, is_answer)
    assert losses[0] == pytest.approx(losses[2], abs=1e-3) and losses[0] < 0.5 < losses[1]
    lost = telling.copy()
    lost[0] = np.nan
    assert np.isnan(answer_losses(validated([lost], folds), positive, is_answer)).all()


def test_the_losses_of_answers_against_answers_are_those_of_the_fit() -> None:
    data = make_dataset(100, planted={(0, 7): 2.0}).contributions
    rows = training_rows(data, "1-vs-1")
    found = cross_validate_path(data.matrix(rows.numbers), rows.positive, rows.groups, class_weight="balanced")
    losses = answer_losses(found, rows.positive, rows.is_answer)
    np.testing.assert_array_equal(losses, found.mean("log_loss"))


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["1-vs-1", "3-vs-1"])
def test_the_path_goes_on_until_the_lowest_loss_is_inside(labels: Any) -> None:
    data = make_dataset(200, planted=DIFFUSE).contributions
    detector = fit_detector(data, labels=labels, columns="raw", subsamples=0)
    losses = [p["held_out_log_loss"] for p in detector.settings["path"]]
    chosen = detector.settings["chosen"]
    assert detector.settings["lambda_ratio"] < 0.1 and not detector.settings["edge"]
    assert len(losses) > 15 and any(loss is not None for loss in losses[chosen + 1 :])
    assert losses[chosen] == min(loss for loss in losses if loss is not None)


def test_a_choice_on_the_edge_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(penalty, "DECADES", 1)
    data = make_dataset(200, planted=DIFFUSE).contributions
    with caplog.at_level(logging.WARNING):
        detector = fit_detector(data, columns="raw", subsamples=0)
    assert detector.settings["chosen"] == len(detector.settings["path"]) - 1
    assert "the smallest penalty tried, 0.1" in detector.settings["edge"] and "edge of the path" in caplog.text


def test_a_fixed_penalty_is_on_no_edge() -> None:
    data = make_dataset(80, planted={(0, 7): 2.0}).contributions
    assert fit_detector(data, C=0.02, subsamples=0).settings["edge"] == ""


@pytest.mark.slow
def test_candidates_are_judged_at_thresholds_of_their_own() -> None:
    """Where answers are easily told from other tokens, log odds of 0 lie between these and all answers."""
    data = make_dataset(160, planted={(0, 7): 1.0, (2, 31): 1.0}).contributions
    assert data.values is not None
    answer = np.array([row["region"] == "answer" for row in data.rows])
    values = data.values.copy()
    values[answer, 50] += 1
    data = replace(data, values=values)
    seen: list[Any] = []

    class Eighth:
        settings: ClassVar[dict[str, Any]] = {}

        def choose(self, candidates: Any, out: Any) -> tuple[int, dict[str, Any]]:
            seen.extend(candidates)
            return 8, {}

    fit_detector(data, labels="3-vs-1", choice=Eighth(), subsamples=0)
    rows = training_rows(data, "3-vs-1")
    found = validate_path(
        data.matrix(rows.numbers), rows.positive, rows.groups, rows.is_answer, C=None, folds=5, seed=0,
        standardize=True, out=None,
    ).found  # fmt: skip
    labels, gains = rows.positive[rows.is_answer], []
    for candidate, decisions in zip(seen, found.decisions[:, rows.is_answer], strict=False):
        if not np.isnan(decisions).any():
            assert candidate.accuracy == ((decisions > even_odds(decisions, labels)) == labels).mean()
            gains.append(candidate.accuracy - ((decisions > 0) == labels).mean())
    assert max(gains) > 0.02


def test_a_path_that_tells_nothing_is_said_first() -> None:
    noise = fit_detector(make_dataset(80, seed=3).contributions, subsamples=0)
    assert "chance is 0.5" in doubt_signal(noise)
    low = [{**point, "held_out_auroc": 0.47} for point in noise.settings["path"]]
    worse = replace(noise, settings={**noise.settings, "path": low})
    assert doubt_signal(worse) == (
        "No penalty told held-out wrong answers from right ones: the best AUROC is 0.470, chance is 0.5."
    )
    strong = fit_detector(make_dataset(80, planted={(0, 7): 2.0}).contributions, subsamples=0)
    assert doubt_signal(strong) == "" == doubt_signal(replace(strong, settings={}))
    held_out: dict[str, float] = strong.settings["held_out_auroc"]
    assert held_out["low"] <= held_out["value"] <= held_out["high"] and held_out["n"] == 80


@pytest.mark.slow
def test_the_held_out_auroc_is_that_of_the_chosen_points_decisions() -> None:
    data = make_dataset(100, planted={(0, 7): 1.5}).contributions
    rows = training_rows(data, "1-vs-1")
    detector: Detector = fit_detector(data, subsamples=0)
    found = validate_path(
        data.matrix(rows.numbers), rows.positive, rows.groups, rows.is_answer, C=None, folds=5, seed=0,
        standardize=True, out=None,
    ).found  # fmt: skip
    decisions = found.decisions[detector.settings["chosen"]]
    assert detector.settings["held_out_auroc"]["value"] == pytest.approx(auroc(rows.positive, decisions))
