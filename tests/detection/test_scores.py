"""Rival scores: each against its definition and its own leak, kept and read again, and those of other packages."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hneurons.core.errors import ArtifactError, InputError, NotEnoughDataError
from hneurons.core.stats import auroc
from hneurons.core.types import Example
from hneurons.detection.answer_rows import AnswerRows, Dataset, Decided, Floats
from hneurons.detection.evaluation import evaluate_detector
from hneurons.detection.fitting import fit_detector
from hneurons.detection.scores import SCORES, Cost, PlainScore, Score, load_scores, score_answers, score_rows, scored
from hneurons.sparse.matrix import ArrayMatrix
from support.planted import make_dataset, make_example, read_tree

LEAKS = {
    "answer length": {"answer length", "sum of log-probabilities"},
    "question only": {"question only"},
    "mean token entropy": {"mean token entropy", "largest token entropy"},
    "mean log-probability": {
        "mean log-probability", "minimum log-probability", "perplexity", "sum of log-probabilities",
    },
}  # fmt: skip
OF_THE_ANSWER = {name for name in SCORES if SCORES.get(name).needs in ("text", "log-probabilities")}


def make_leaky(n: int, prefix: str, leak: str) -> AnswerRows:
    """Answers whose class can be read off one thing that is no neuron."""
    rng = np.random.default_rng(len(prefix))
    examples = []
    for i in range(n):
        wrong = bool(i % 2)
        size = int(rng.integers(2, 5)) + (3 if wrong and leak == "answer length" else 0)
        word = "river" if wrong and leak == "question only" else "city"
        example = make_example(
            f"{prefix}{i}",
            wrong=wrong,
            token_ids=tuple(range(size)),
            token_span=(0, size),
            question=f"Which {word} is it?",
        )
        logprob = -2.0 if wrong and leak == "mean log-probability" else -1.0
        logprobs = tuple(float(v) for v in logprob + 0.3 * rng.normal(size=size))
        unsure = 1.5 if wrong and leak == "mean token entropy" else 0.7
        entropies = tuple(float(v) for v in unsure + 0.1 * rng.normal(size=size))
        examples.append(replace(example, response=replace(example.response, logprobs=logprobs, entropies=entropies)))
    return as_rows(examples)


def as_rows(examples: list[Example]) -> AnswerRows:
    labels = np.array([e.hallucinated for e in examples])
    empty = ArrayMatrix(np.zeros((len(examples), 1), np.float32))
    return AnswerRows(examples, labels, [e.question.group for e in examples], empty)


def values(train: AnswerRows, test: AnswerRows) -> dict[str, Floats]:
    return {one.method: one.decided.values for one in score_rows(train, test)[0] if one.method in OF_THE_ANSWER}


@pytest.mark.parametrize("leak", LEAKS)
def test_each_score_finds_its_own_leak_and_no_other(leak: str) -> None:
    train, test = make_leaky(80, "a", leak), make_leaky(80, "bb", leak)
    areas = {name: auroc(test.labels, found) for name, found in values(train, test).items()}
    assert set(areas) == OF_THE_ANSWER
    for name, area in areas.items():
        assert area > 0.8 if name in LEAKS[leak] else abs(area - 0.5) < 0.2, name


def test_fitted_scores_are_balanced_logistic_regressions_on_what_they_read() -> None:
    train, test = make_leaky(60, "a", "answer length"), make_leaky(40, "bb", "answer length")

    def lengths(rows: AnswerRows) -> Floats:
        return np.log1p([[len(e.response.token_ids), len(e.response.token_ids), len(e.response.text)]
                         for e in rows.examples])  # fmt: skip

    def means(rows: AnswerRows) -> Floats:
        return np.array([[np.mean(e.response.logprobs)] for e in rows.examples])

    def words(rows: AnswerRows) -> list[str]:
        return [e.question.text for e in rows.examples]

    found = values(train, test)
    for name, read, prepare in (
        ("answer length", lengths, StandardScaler()),
        ("mean log-probability", means, StandardScaler()),
        ("question only", words, TfidfVectorizer(sublinear_tf=True)),
    ):
        model = make_pipeline(prepare, LogisticRegression(class_weight="balanced")).fit(read(train), train.labels)
        assert np.array_equal(found[name], model.decision_function(read(test)))


def test_log_probabilities_of_the_answers_tokens_alone_count() -> None:
    logprobs, entropies = (-0.5, -2.0, -0.25, -9.0), (0.5, 1.5, 1.0, 9.0)
    example = make_example("x", wrong=True, token_ids=(1, 2, 3, 4), token_span=(0, 3))
    response = replace(example.response, logprobs=logprobs, entropies=entropies)
    test = as_rows([replace(example, response=response)])
    found = values(make_leaky(40, "a", "mean log-probability"), test)
    assert found["minimum log-probability"] == pytest.approx([2.0])
    assert found["sum of log-probabilities"] == pytest.approx([2.75])
    assert found["perplexity"] == pytest.approx([math.exp(2.75 / 3)])
    assert found["mean token entropy"] == pytest.approx([1.0])
    assert found["largest token entropy"] == pytest.approx([1.5])


def test_a_plain_score_calls_made_up_where_training_answers_have_even_odds() -> None:
    train = make_leaky(200, "a", "mean log-probability")
    one = next(s for s in score_rows(train, train)[0] if s.method == "minimum log-probability")
    flagged = one.decided.values > one.decided.threshold
    assert not one.fitted and one.cost == Cost(0, 0) and one.needs == "log-probabilities"
    assert (flagged == train.labels).mean() > 0.9


def test_scores_that_lack_something_are_left_out_by_name() -> None:
    train, test = make_leaky(20, "a", ""), make_leaky(20, "bb", "")
    bare = [replace(e, response=replace(e.response, logprobs=(), entropies=())) for e in test.examples[:5]]
    found, left_out = score_rows(train, as_rows([*bare, *test.examples[5:]]))
    assert {one.method for one in found} & OF_THE_ANSWER == {"answer length", "question only"}
    lacking = OF_THE_ANSWER - {"answer length", "question only"}
    assert {left_out[name] for name in lacking} == {
        "5 of 20 answers have no log-probabilities", "5 of 20 answers have no token entropies",
    }  # fmt: skip
    with pytest.raises(InputError, match="has no answer span"):
        score_rows(as_rows([replace(train.examples[0], token_span=None), *train.examples[1:]]), test)


class Numbered(PlainScore):
    """The number in the question's id."""

    version, needs, cost = 3, "another pass", Cost(passes=1)

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([float(e.question.id.strip("qt")) for e in rows.examples])


class Lost(Score):
    """Nothing."""

    version, needs, fitted = 1, "text", False

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        return Decided(np.full(len(test.labels), np.nan), 0.0)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SCORES, "_items", {**SCORES._items, "number": Numbered})


@pytest.fixture(scope="module")
def train() -> Dataset:
    return make_dataset(60, planted={(0, 7): 2.0})


@pytest.fixture(scope="module")
def test_set() -> Dataset:
    return make_dataset(30, planted={(0, 7): 2.0}, prefix="t", seed=9)


@pytest.mark.usefixtures("registered")
def test_scores_are_kept_and_read_again_and_evaluate_reads_them(
    train: Dataset, test_set: Dataset, tmp_path: Path
) -> None:
    found = score_answers(train, test_set, name="new", out=tmp_path / "a")
    assert load_scores(tmp_path / "a") == found == score_answers(train, test_set, name="new", out=tmp_path / "a")
    assert found == score_answers(train, test_set)
    assert next(one for one in found.methods if one.method == "number").cost == Cost(1, 0)
    assert found.of("qt7#0")["number"] == 7
    detector = fit_detector(train.contributions, subsamples=0)
    read = evaluate_detector(detector, train, {"new": test_set}, scores={"new": found}, draws=2)
    assert read == evaluate_detector(detector, train, {"new": test_set}, draws=2)
    assert "number" in {score.method for score in read["new"].scores}
    with pytest.raises(InputError, match="the scores of 'new' are of other answers"):
        evaluate_detector(detector, train, {"new": test_set}, scores={"new": replace(found, ids=found.ids[1:])})


def test_a_new_score_or_version_replaces_what_lies_there(
    train: Dataset, test_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = score_answers(train, test_set, out=tmp_path)
    monkeypatch.setattr(SCORES, "_items", {**SCORES._items, "number": Numbered})
    after = score_answers(train, test_set, out=tmp_path)
    assert [one for one in after.methods if one.method != "number"] == list(before.methods)
    assert after.content != before.content


@pytest.mark.parametrize("crash_at", [0, 2, 5])
def test_scores_killed_anywhere_end_with_the_same_bytes(
    train: Dataset, test_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    score_answers(train, test_set, out=tmp_path / "whole")
    original, calls = scored._to_row, []

    def crash(*args: object) -> object:
        calls.append(1)
        if len(calls) > crash_at:
            raise KeyboardInterrupt
        return original(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(scored, "_to_row", crash)
        with pytest.raises(KeyboardInterrupt):
            score_answers(train, test_set, out=tmp_path / "cut")
    score_answers(train, test_set, out=tmp_path / "cut")
    assert read_tree(tmp_path / "cut") == read_tree(tmp_path / "whole")


def test_changed_scores_one_class_seen_questions_and_values_that_are_not_finite_are_one_sentence(
    train: Dataset, test_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_answers(train, test_set, out=tmp_path)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text().replace("0.", "1.", 1))
    with pytest.raises(ArtifactError, match="was changed"):
        load_scores(tmp_path)
    with pytest.raises(InputError, match="60 questions of the test set 'same' were trained on"):
        score_answers(train, train, name="same")
    with pytest.raises(NotEnoughDataError, match="all of one class"):
        score_answers(make_dataset(20, wrong_share=0.0, prefix="u"), test_set)
    monkeypatch.setattr(SCORES, "_items", {"lost": Lost})
    with pytest.raises(InputError, match=r"the score 'lost' gave values .* not finite"):
        score_answers(train, test_set)
