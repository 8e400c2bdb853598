"""Scores that ask the model about its answers: what they make of what it said."""

from collections.abc import Sequence

import numpy as np
import pytest

from hneurons.answers.opinions import Opinion
from hneurons.core.stats import auroc
from hneurons.detection.answer_rows import AnswerRows, answer_rows
from hneurons.detection.scores import Scored, score_rows
from support.planted import make_dataset

NAMES = {"P(True)", "verbalised confidence"}


def make_rows(log_odds: Sequence[float], numbers: Sequence[int | None], *, prefix: str = "") -> AnswerRows:
    rows = answer_rows(make_dataset(len(log_odds), prefix=prefix), "rows")
    said = zip(rows.examples, log_odds, numbers, strict=True)
    return rows._replace(opinions=[Opinion(e.id, odds, 0.5, number, "") for e, odds, number in said])


def asked(train: AnswerRows, test: AnswerRows) -> tuple[dict[str, Scored], dict[str, str]]:
    found, left_out = score_rows(train, test)
    return {one.method: one for one in found if one.method in NAMES}, left_out


def test_what_the_model_finds_false_counts_as_made_up() -> None:
    rows = answer_rows(make_dataset(40), "rows")
    odds = np.where(rows.labels, -1.0, 2.0)
    test = make_rows(list(odds), [20 if wrong else 90 for wrong in rows.labels])
    found, _ = asked(test, test)
    assert set(found) == NAMES
    for one in found.values():
        assert auroc(test.labels, one.decided.values) == 1.0
        assert ((one.decided.values > one.threshold) == test.labels).all()
    assert found["P(True)"].values == tuple(-odds)
    assert set(found["verbalised confidence"].values) == {80.0, 10.0}


def test_few_replies_without_a_number_count_as_the_training_median_and_many_leave_the_score_out() -> None:
    odds, numbers = [0.0] * 40, [10, 30, 60, 80] * 10
    train, test = make_rows(odds, numbers), make_rows(odds, [*numbers[:-1], None], prefix="t")
    found, _ = asked(train, test)
    assert found["verbalised confidence"].values[-1] == np.median([100 - n for n in numbers])
    found, left_out = asked(train, make_rows(odds, [*numbers[:-3], None, None, None], prefix="t"))
    assert set(found) == {"P(True)"}
    assert left_out["verbalised confidence"] == "3 of 40 replies hold no number from 0 to 100"


def test_without_opinions_these_scores_are_left_out_by_name() -> None:
    rows = answer_rows(make_dataset(20), "rows")
    assert {asked(rows, rows)[1][name] for name in NAMES} == {"the model was not asked about its answers"}


@pytest.mark.parametrize("missing", ["P(True)", "verbalised confidence"])
def test_opinions_of_some_answers_alone_are_none(missing: str) -> None:
    data = make_dataset(20)
    whole = make_rows([0.0] * 20, [50] * 20)
    from hneurons.answers.opinions import Opinions

    some = answer_rows(data._replace(opinions=Opinions(list(whole.opinions[1:]), {}, "x")), "rows")
    assert missing in asked(some, some)[1] and missing in asked(whole, some)[1]
