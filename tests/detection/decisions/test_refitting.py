"""New weights of the same neurons tell what the old ones did not, on answers that they were not fitted on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hneurons.answers.questions import question_marks
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.stats import auroc
from hneurons.core.types import Question
from hneurons.detection.decisions.labelled import LabelledScore, LabelledScores
from hneurons.detection.decisions.refitting import is_fully_known, refit_weights
from hneurons.detection.detector import Detector
from support.labelled import bare_detector


def other_domain(n: int = 400) -> LabelledScores:
    """The detector adds its four neurons up; here the second speaks against, and the third and fourth say nothing."""
    rng = np.random.default_rng(0)
    added = rng.normal(size=(n, 4)) * np.array([1.0, 1.0, 2.0, 2.0])
    wrong = rng.random(n) < 1 / (1 + np.exp(-2 * (added[:, 0] - added[:, 1])))
    rows = (
        LabelledScore(f"{i}", f"{i}", float(row.sum()), bool(label), tuple(row.tolist()))
        for i, (row, label) in enumerate(zip(added, wrong, strict=True))
    )
    return LabelledScores("other", bare_detector().content, tuple(rows), {"cut off": 2})


def test_weights_are_learned_on_one_half_and_tell_on_the_other() -> None:
    detector, scores = bare_detector(), other_domain()
    found = refit_weights(detector, scores)
    assert found.detector.coef[0] > 0 > found.detector.coef[1] and abs(found.detector.coef[2:]).max() < 0.3
    old = {row.id: row.log_odds for row in scores.rows}
    before = auroc(found.scores.wrong, np.array([old[row.id] for row in found.scores.rows]))
    assert auroc(found.scores.wrong, found.scores.log_odds) > 0.85 > 0.65 > before
    assert found.scores.detector == found.detector.content != detector.content
    assert found.scores.left_out == {"cut off": 2, "refitted on": 400 - len(found.scores.rows)}


def test_log_odds_are_the_new_intercept_and_contributions() -> None:
    found = refit_weights(bare_detector(), other_domain())
    for row in found.scores.rows:
        assert row.log_odds == pytest.approx(found.detector.intercept + sum(row.contributions), abs=1e-5)
    raw = {row.id: np.array(row.contributions) for row in other_domain().rows}  # with coefficients of 1
    first = found.scores.rows[0]
    assert first.contributions == pytest.approx((found.detector.coef * raw[first.id]).tolist())


def test_labels_of_the_other_half_do_not_move_the_weights() -> None:
    scores = other_domain()
    found = refit_weights(bare_detector(), scores)
    kept = {row.id for row in found.scores.rows}
    turned = replace(scores, rows=tuple(replace(r, wrong=r.wrong != (r.id in kept)) for r in scores.rows))
    again = refit_weights(bare_detector(), turned)
    assert again.detector.coef.tolist() == found.detector.coef.tolist()


def test_few_answers_and_unknown_contributions_are_refused() -> None:
    scores = other_domain(20)
    with pytest.raises(NotEnoughDataError, match="each half of a refit needs at least 10 right and 10 wrong"):
        refit_weights(bare_detector(), scores)
    bare = replace(scores, rows=tuple(replace(row, contributions=()) for row in scores.rows))
    with pytest.raises(InputError, match="are not of this detector"):
        refit_weights(bare_detector(), bare)


def test_a_refit_keeps_what_it_and_the_old_detector_were_fitted_on(tmp_path: Path) -> None:
    old = Question("old", "Which river?")
    scores = other_domain()
    asked = [Question(row.id, f"What is {row.id}?") for row in scores.rows]
    detector = replace(bare_detector(), fitted_on=question_marks(old))
    found = refit_weights(detector, scores, questions=asked)
    found.detector.save(tmp_path)
    loaded = Detector.load(tmp_path)
    kept = {row.id for row in found.scores.rows}
    assert [loaded.has_seen(question) for question in asked] == [question.id not in kept for question in asked]
    assert all(loaded.has_seen(replace(question, id="else")) == (question.id not in kept) for question in asked)
    assert loaded.has_seen(old) and is_fully_known(loaded)
    assert loaded.content == replace(loaded, fitted_on=None).content
    (tmp_path / "fitted_on.json").unlink()  # as of an earlier version
    assert Detector.load(tmp_path).fitted_on is None


def test_a_refit_of_a_detector_of_unknown_training_stays_unknown() -> None:
    found = refit_weights(bare_detector(), other_domain()).detector
    assert found.fitted_on and not is_fully_known(found)
    assert is_fully_known(refit_weights(replace(bare_detector(), fitted_on=frozenset()), other_domain()).detector)
