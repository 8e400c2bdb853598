"""Calibration says how good its probabilities are on answers that did not make them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.files import write_checked
from hneurons.core.types import Question, Response
from hneurons.detection.decisions.calibration import (
    CALIBRATION_JSON,
    Calibration,
    calibrate_scores,
    describe_calibration,
    load_calibration,
    measure_quality,
)
from hneurons.detection.decisions.labelled import LabelledScore, LabelledScores, one_per_group
from hneurons.detection.decisions.scoring import first_answers
from support.labelled import bare_detector, make_scores


def test_a_detector_that_is_off_is_put_right_and_the_report_shows_by_how_much() -> None:
    scores = make_scores(600, slope=0.5, offset=-1.5)
    found = calibrate_scores(scores)
    before, after = found.quality("uncalibrated"), found.quality("platt")
    assert before.error.low > after.error.high and before.brier.value > after.brier.value
    assert found.natural_rate == found.error_rate == pytest.approx(scores.wrong.mean())
    p = found.calibrator.probability(scores.log_odds)
    assert p.mean() == pytest.approx(scores.wrong.mean(), abs=0.005)
    assert len(found.bins) == 10 and sum(b.wrong.n for b in found.bins) == 600
    assert all(b.wrong.low - 0.1 < b.probability < b.wrong.high + 0.1 for b in found.bins)


def test_qualities_are_of_answers_that_the_fit_left_out() -> None:
    """Labels of noise: isotonic calibration fits its own answers well, and others not at all."""
    rng = np.random.default_rng(0)
    rows = tuple(LabelledScore(f"{i}", f"{i}", float(rng.normal()), bool(rng.random() < 0.3)) for i in range(300))
    scores = LabelledScores("noise", "d", rows, {})
    found = calibrate_scores(scores, method="isotonic")
    own = found.calibrator.probability(scores.log_odds)
    ones = np.ones(300)
    fitted = measure_quality("isotonic", own, scores.wrong, ones, scores.groups)
    assert fitted.error.value < 0.001 < found.quality("isotonic").error.value
    constant = scores.wrong.mean() * (1 - scores.wrong.mean())
    assert fitted.brier.value < constant < found.quality("isotonic").brier.value


def test_answers_about_one_fact_are_left_out_together() -> None:
    """Every fact stands twice with the same label: told apart, its twin would give it away."""
    rng = np.random.default_rng(2)
    values, wrong = rng.normal(size=150), rng.random(150) < 0.5
    rows = tuple(
        LabelledScore(f"{i}-{twin}", f"{i}", float(values[i]) + 1e-9 * twin, bool(wrong[i]))
        for i in range(150) for twin in (0, 1)
    )  # fmt: skip
    found = calibrate_scores(LabelledScores("twins", "d", rows, {}), method="isotonic")
    assert found.quality("isotonic").brier.value > 0.24
    single = one_per_group(LabelledScores("twins", "d", rows, {}))
    assert len(single.rows) == 150 and single.left_out == {"another answer about the same fact": 150}


def test_a_stated_error_rate_is_that_of_the_probabilities() -> None:
    scores = make_scores(800, slope=1, offset=0)
    found = calibrate_scores(scores, error_rate=0.1)
    weights = np.where(scores.wrong, 0.1 / scores.error_rate, 0.9 / (1 - scores.error_rate))
    p = found.calibrator.probability(scores.log_odds)
    assert np.average(p, weights=weights) == pytest.approx(0.1, abs=0.01)
    assert found.error_rate == 0.1 and "stated for an error rate of 0.10" in describe_calibration(found)
    assert found.quality("platt").error.value < 0.05 < found.quality("uncalibrated").error.value


def test_quality_is_that_of_a_naive_count() -> None:
    rng = np.random.default_rng(4)
    p, wrong, weights = rng.random(200), rng.random(200) < 0.4, rng.random(200) + 0.5
    naive = 0.0
    for low in np.arange(10) / 10:
        inside = [i for i in range(200) if low <= p[i] < low + 0.1]
        naive += abs(sum(weights[i] * (p[i] - wrong[i]) for i in inside))
    found = measure_quality("x", p, wrong, weights, [str(i) for i in range(200)])
    assert found.error.value == pytest.approx(naive / weights.sum())
    assert found.brier.value == pytest.approx(np.average((p - wrong) ** 2, weights=weights))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(3, 2), (0, 40), (40, 0), (9, 100), (0, 0)],
    ids=["n=5", "all wrong", "all right", "few", "none"],
)
def test_too_few_answers_of_a_class_are_one_sentence(right: int, wrong: int) -> None:
    rows = tuple(LabelledScore(f"{i}", f"{i}", float(i), i < wrong) for i in range(right + wrong))
    with pytest.raises(
        NotEnoughDataError, match=f"at least 10 right and 10 wrong.*has {right} right and {wrong} wrong"
    ):
        calibrate_scores(LabelledScores("few", "d", rows, {}))


def test_few_answers_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    calibrate_scores(make_scores(60))
    assert "fewer than 50 answers of a class" in caplog.text


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_an_impossible_error_rate_and_an_unknown_map_are_refused(rate: float) -> None:
    with pytest.raises(InputError, match="--error-rate should lie between 0 and 1"):
        calibrate_scores(make_scores(100), error_rate=rate)
    with pytest.raises(InputError, match="unknown calibration 'best'"):
        calibrate_scores(make_scores(100), method="best")  # type: ignore[arg-type]


def test_a_calibration_is_kept_beside_its_detector_alone(tmp_path: Path) -> None:
    detector = bare_detector()
    scores = LabelledScores("set", detector.content, make_scores(100).rows, {"cut off": 3})
    found = calibrate_scores(scores)
    found.save(tmp_path)
    assert load_calibration(tmp_path, detector) == found == Calibration.from_row(found.to_row())
    assert load_calibration(tmp_path / "none", detector) is None
    with pytest.raises(ArtifactError, match="of another detector"):
        load_calibration(tmp_path, bare_detector(threshold=9.0))
    path = tmp_path / CALIBRATION_JSON
    path.write_text(path.read_text().replace('"right"', '"left"', 1))
    with pytest.raises(ArtifactError, match="run 'calibrate' again"):
        load_calibration(tmp_path, detector)


def test_a_detector_that_ranks_the_wrong_way_round_is_told_and_a_falling_map_of_old_is_refused(tmp_path: Path) -> None:
    detector = bare_detector()
    turned = make_scores(400, slope=-2)
    found = calibrate_scores(LabelledScores("turned", detector.content, turned.rows, {}))
    assert found.calibrator.flat and "does not rank these answers the right way round" in describe_calibration(found)
    assert "the right way round" not in describe_calibration(calibrate_scores(make_scores(400)))
    row = found.to_row()
    row["calibrator"]["parameters"] = [-1.87, 0.0]
    write_checked(tmp_path / CALIBRATION_JSON, row)
    with pytest.raises(ArtifactError, match=r"the map falls .* run 'calibrate' again"):
        load_calibration(tmp_path, detector)


def test_the_first_whole_answer_to_each_question_counts_as_it_came() -> None:
    questions = [Question(f"q{i}", f"Which {i}?", ("x",)) for i in range(6)]
    cut: dict[str, Any] = {"finish_reason": "length"}
    responses = [Response("q0", 0, "a"), Response("q0", 1, "b"), Response("q1", 0, "c"), Response("q2", 0, "d", **cut),
                 Response("q3", 0, "e"), Response("q4", 0, "f")]  # fmt: skip
    verdicts: Any = dict.fromkeys((r.id for r in responses), "incorrect") | {
        "q0#1": "correct", "q1#0": "correct", "q3#0": "abstained", "q4#0": "unscored",
    }  # fmt: skip
    found = first_answers(questions, responses, verdicts)
    assert [(q.id, r.text, wrong) for q, r, wrong in found.answers] == [("q0", "a", True), ("q1", "c", False)]
    assert found.left_out == {"abstained": 1, "cut off": 1, "not asked": 1, "unscored": 1}


def test_the_threshold_is_where_both_are_as_likely() -> None:
    found = calibrate_scores(make_scores(2000, slope=1, offset=-2))
    assert found.threshold == pytest.approx(2.0, abs=0.4)
    assert expit(0) == pytest.approx(float(found.calibrator.probability(np.array([found.threshold]))[0]), abs=0.01)
