"""Scores that read further samples of a question: what they count as one meaning, and their numbers by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from hneurons.answers.meanings import Meanings
from hneurons.core.types import Response
from hneurons.detection.answer_rows import AnswerRows
from hneurons.detection.scores import score_rows
from hneurons.detection.scores.lexical_similarity import rouge_l
from hneurons.sparse.matrix import ArrayMatrix
from support.planted import make_example

NAMES = {
    "agreement with the majority", "lexical similarity", "number of meanings", "semantic entropy",
    "semantic entropy, weighted",
}  # fmt: skip


def make_rows(answers: Sequence[tuple[str, Sequence[str]]], logprobs: Sequence[float] = ()) -> AnswerRows:
    """Each answer with the texts of its other samples."""
    examples, samples = [], []
    for number, (answer, others) in enumerate(answers):
        example = make_example(number, wrong=bool(number % 2))
        examples.append(replace(example, response=replace(example.response, text=answer)))
        given = logprobs or [-1.0] * len(others)
        samples.append(
            [Response(f"q{number}", s + 1, text, (1,), (given[s],)) for s, text in enumerate(others)],
        )
    labels = np.array([e.hallucinated for e in examples])
    matrix = ArrayMatrix(np.zeros((len(examples), 1), np.float32))
    return AnswerRows(examples, labels, [e.question.group for e in examples], matrix, samples)


def values(rows: AnswerRows) -> dict[str, list[float]]:
    return {one.method: list(one.values) for one in score_rows(rows, rows)[0] if one.needs == "samples"}


def test_numbers_of_sample_scores_are_those_of_their_definitions() -> None:
    rows = make_rows([("Rome", ["rome", "The Rome", "Oslo", "Bern"]), ("Lima", ["Oslo", "Oslo", "Oslo", "Oslo"])])
    found = values(rows)
    assert set(found) == NAMES
    assert found["number of meanings"] == [3, 1]
    assert found["semantic entropy"] == pytest.approx([-0.5 * math.log(0.5) - 0.5 * math.log(0.25), 0.0])
    assert found["agreement with the majority"] == [-0.5, 1.0]
    assert found["lexical similarity"][1] == -1.0


def test_weighted_semantic_entropy_counts_a_sample_by_its_probability() -> None:
    logprobs = [math.log(0.5), math.log(0.25), math.log(0.25)]
    found = values(make_rows([("a", ["Rome", "Oslo", "oslo"]), ("b", ["Rome", "Oslo", "Bern"])], logprobs))
    assert found["semantic entropy, weighted"] == pytest.approx([math.log(2), 1.5 * math.log(2)])


def test_rouge_l_is_the_longest_common_subsequence_of_words() -> None:
    one, other = ["the", "cat", "sat", "on", "the", "mat"], ["the", "cat", "on", "a", "mat"]
    assert rouge_l(one, other) == pytest.approx(2 * 4 / 11)
    assert rouge_l([], other) == 0.0 and rouge_l([], []) == 1.0


def test_the_judged_answer_is_none_of_the_samples_that_entropy_reads() -> None:
    samples = ["Rome", "Oslo", "Bern"]
    same, other = (values(make_rows([(answer, samples)] * 2)) for answer in ("Rome", "Lima"))
    for name in NAMES - {"agreement with the majority"}:
        assert same[name] == other[name]
    assert same["agreement with the majority"] != other["agreement with the majority"]


def test_too_few_samples_leave_these_scores_out_by_name() -> None:
    rows = make_rows([("a", ["Rome", "Oslo"]), ("b", ["Rome"])])
    left_out = score_rows(rows, rows)[1]
    assert {left_out[name] for name in NAMES} == {"1 of 2 answers have fewer than 2 other samples"}
    bare = rows._replace(samples=[[replace(s, logprobs=()) for s in drawn] * 2 for drawn in rows.samples])
    assert (
        score_rows(bare, bare)[1]["semantic entropy, weighted"]
        == "2 of 2 answers have samples without log-probabilities"
    )


def test_training_answers_whose_sampling_ended_early_take_nothing_from_the_others() -> None:
    whole = [("Rome", ["Rome", "Rome"]), ("Oslo", ["Rome", "Bern"]), ("Lima", ["Lima", "Lima"]), ("Oslo", ["A", "B"])]
    train, cut = make_rows(whole), make_rows([*whole, ("Bern", ["Bern"]), ("Bern", [])])
    told = {one.method: one for one in score_rows(train, train)[0] if one.method in NAMES}
    assert {one.method: one for one in score_rows(cut, train)[0] if one.method in NAMES} == told != {}


def test_sample_scores_read_the_meanings_that_a_judge_told() -> None:
    rows = make_rows([("Rome", ["Rome", "Roma", "Oslo"]), ("Oslo", ["Rome", "Roma", "Roma"])])
    relations = {("Rome", "Roma"): "entailment", ("Roma", "Rome"): "entailment"}
    table = {f"q{n}": relations for n in range(2)}
    assert values(rows)["number of meanings"] == [3, 2]
    judged = values(rows._replace(meanings=Meanings("model", "both", table)))  # type: ignore[arg-type]
    assert judged["number of meanings"] == [2, 1] and judged["semantic entropy"][1] == 0.0
    assert judged["agreement with the majority"] == pytest.approx([-2 / 3, 1.0])
    lacking = rows._replace(meanings=Meanings("model"))
    left_out = score_rows(lacking, lacking)[1]
    assert {left_out[name] for name in NAMES - {"lexical similarity"}} == {"'model' was not asked for meanings"}
