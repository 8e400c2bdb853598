"""A guarantee says what it rests on, or that there is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.seeds import derive_seed
from hneurons.detection.assessment import Assessment
from hneurons.detection.decisions.abstention import (
    GUARANTEE_JSON,
    Guarantee,
    describe_guarantee,
    describe_untouched,
    guarantee_precision,
    load_guarantee,
)
from hneurons.detection.decisions.calibration import calibrate_scores
from hneurons.detection.decisions.deciding import Decisions, load_decisions
from hneurons.detection.decisions.labelled import LabelledScore, LabelledScores
from support.labelled import bare_detector, make_scores


def test_a_guarantee_counts_what_it_rests_on() -> None:
    scores = make_scores(600, slope=1.5)
    found = guarantee_precision(scores)
    assert found.found and found.untouched is not None
    assert found.answers + found.untouched.answers == 600
    kept = np.array([row.log_odds for row in scores.rows])
    best = max((step for step in found.steps if step.passed), key=lambda step: step.answered)
    assert best.threshold == found.threshold and best.bound <= 0.1
    assert found.coverage == pytest.approx(best.answered / found.answers)
    assert found.answer(found.threshold - 1e-9) and not found.answer(found.threshold)
    assert found.untouched.coverage.value == pytest.approx((kept < found.threshold).mean(), abs=0.1)
    assert found.untouched.precision_bound < found.untouched.precision.value
    assert found.untouched.withheld.value < found.untouched.withheld_bound <= 1
    said = describe_guarantee(found)
    assert (
        "a precision of at least 0.9 at confidence 0.9" in said and "of planted" in said and "drawn like these" in said
    )
    assert "of the right answers withheld (at most" in describe_untouched(found.untouched, 0.9)
    assert Guarantee.from_row(found.to_row()) == found


def test_answers_kept_apart_choose_nothing() -> None:
    scores = make_scores(300, slope=1.5)
    found = guarantee_precision(scores)
    apart = {row.id for row in scores.rows if derive_seed("untouched", 0, row.group) % 3 == 0}
    rows = tuple(replace(row, wrong=row.wrong != (row.id in apart)) for row in scores.rows)
    turned = guarantee_precision(replace(scores, rows=rows))
    assert found.untouched is not None and found.untouched.answers == len(apart)
    assert turned.steps == found.steps and turned.threshold == found.threshold
    assert turned.untouched is not None
    assert turned.untouched.precision.value == pytest.approx(1 - found.untouched.precision.value)


def test_no_threshold_is_a_result_that_says_why() -> None:
    found = guarantee_precision(make_scores(200, slope=0.0))
    assert not found.found and found.untouched is None and found.coverage == 0
    assert "No threshold exists" in describe_guarantee(found) and "are wrong" in describe_guarantee(found)
    assert not found.answer(-1e9)
    few = guarantee_precision(make_scores(20, slope=9))
    assert not few.found and few.steps == () and "at least 22 answered ones are needed" in describe_guarantee(few)
    assert Guarantee.from_row(few.to_row()).to_row() == few.to_row()


@pytest.mark.parametrize("wrong", [False, True])
def test_labels_of_one_class_are_enough_for_a_result(wrong: bool) -> None:
    rows = tuple(LabelledScore(f"{i}", f"{i}", float(i), wrong) for i in range(100))
    found = guarantee_precision(LabelledScores("one", "d", rows, {}))
    assert found.found is not wrong


def test_five_answers_are_refused_in_one_sentence() -> None:
    with pytest.raises(NotEnoughDataError, match="has 5 labelled answers, and a guarantee needs at least 10"):
        guarantee_precision(make_scores(5))


def test_fixed_thresholds_are_those_of_the_answers_kept_apart() -> None:
    scores = make_scores(600, slope=1.5)
    found = guarantee_precision(scores, method="fixed")
    assert found.method == "fixed" and found.found
    apart = [row.log_odds for row in scores.rows if derive_seed("untouched", 0, row.group) % 3 == 0]
    assert found.threshold in np.quantile(apart, np.linspace(0.15, 1, 100))
    with pytest.raises(InputError, match="known are order, fixed"):
        guarantee_precision(scores, method="best")  # type: ignore[arg-type]


def test_one_answer_about_each_fact_counts() -> None:
    rows = make_scores(100).rows
    twice = LabelledScores("twice", "d", (*rows, *(replace(row, id=f"{row.id}b") for row in rows)), {})
    found = guarantee_precision(twice)
    assert found.left_out == {"another answer about the same fact": 100} and len(found.rows) == 100


@pytest.mark.parametrize("value", [0.0, 1e-17, 1.0, 1.5, float("nan")])
def test_impossible_targets_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"--target-precision should lie between 0\.000001 and"):
        guarantee_precision(make_scores(50), target_precision=value)
    with pytest.raises(InputError, match=r"--confidence should lie between 0\.000001 and"):
        guarantee_precision(make_scores(50), confidence=value)


def test_decisions_give_probability_and_decision_and_nothing_where_there_is_no_score(tmp_path: Path) -> None:
    detector = bare_detector()
    scores = replace(make_scores(300, slope=1.5), detector=detector.content)
    guarantee, calibration = guarantee_precision(scores), calibrate_scores(scores)
    guarantee.save(tmp_path)
    calibration.save(tmp_path)
    decisions = load_decisions(str(tmp_path), detector)
    assert decisions == Decisions(calibration, guarantee)
    assert decisions.settings() == {"calibration": calibration.content, "guarantee": guarantee.content}
    bare = Assessment("a", guarantee.threshold - 0.1, 0.5, False, (0, 1), (), {}, False)
    given = decisions.apply(bare)
    assert given.decision == "answer" and 0 < given.probability < 1
    assert decisions.apply(replace(bare, log_odds=guarantee.threshold)).decision == "abstain"
    lacking = replace(bare, problem="the response is empty", log_odds=float("nan"))
    assert decisions.apply(lacking).decision is None
    assert Decisions().apply(bare) == bare and Decisions().settings() == {}


def test_a_guarantee_of_another_detector_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    detector = bare_detector()
    guarantee_precision(replace(make_scores(100), detector=detector.content)).save(tmp_path)
    assert load_guarantee(tmp_path, detector) is not None and load_guarantee(tmp_path / "x", detector) is None
    with pytest.raises(ArtifactError, match="of another detector"):
        load_guarantee(tmp_path, bare_detector(threshold=2.0))
    path = tmp_path / GUARANTEE_JSON
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ArtifactError, match="run 'abstain' again"):
        load_guarantee(tmp_path, detector)
