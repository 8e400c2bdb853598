"""Detectors and estimators of other packages as scores: what they are given, and what is left out by name."""

from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from hneurons.answers.meanings import Meanings
from hneurons.core.errors import InputError
from hneurons.core.stats import auroc
from hneurons.core.types import Response
from hneurons.detection.answer_rows import AnswerRows, answer_rows
from hneurons.detection.scores.adapters import adapt_detector, adapt_estimator, chosen_states
from hneurons.detection.scores.score import Score
from support.planted import make_dataset, plant_states


class Linear:
    """A detector with the two methods that OpenHalDet's have."""

    fits: ClassVar[list[int]] = []

    def fit(self, features: Any, labels: Any) -> "Linear":
        self.fits.append(len(labels))
        self.model = LogisticRegression().fit(features, labels)
        return self

    def predict_score(self, features: Any) -> Any:
        return self.model.predict_proba(features)[:, 1]


class Spread:
    """An estimator with lm-polygraph's interface."""

    level = "sequence"
    stats_dependencies: ClassVar[list[str]] = ["semantic_classes_entail", "sample_log_probs", "semantic_matrix_entail"]

    def __call__(self, stats: dict[str, Any]) -> Any:
        classes = stats["semantic_classes_entail"]
        sizes = [[len(group) for group in groups] for groups in classes["class_to_sample"]]
        assert all(len(samples) == sum(size) for samples, size in zip(stats["sample_log_probs"], sizes, strict=True))
        assert all(classes["sample_to_class"][0][n] == c for c, group in enumerate(classes["class_to_sample"][0])
                   for n in group)  # fmt: skip
        return [len(size) + matrix.mean() for size, matrix in zip(sizes, stats["semantic_matrix_entail"], strict=True)]


def make_rows(n: int, **changes: Any) -> AnswerRows:
    rows = answer_rows(plant_states(make_dataset(n, **changes), strength=5.0, seed=changes.get("seed", 0)), "rows")
    samples = [[Response(e.question.id, s, text, (1,), (-1.0 - s,)) for s, text in enumerate(("Rome", "Oslo", "rome"))]
               for e in rows.examples]  # fmt: skip
    return rows._replace(samples=samples)


def test_a_detector_is_fitted_on_the_training_answers_and_its_threshold_on_folds_of_them() -> None:
    Linear.fits = []
    kind = adapt_detector(Linear, chosen_states("answer mean"), name="the linear detector")
    assert issubclass(kind, Score) and kind.__doc__ == "What the linear detector says, fitted on the training answers."
    train, test = make_rows(80), make_rows(60, prefix="t", seed=4)
    found = kind().decide(train, test)
    assert auroc(test.labels, found.values) > 0.95
    assert ((found.values > found.threshold) == test.labels).mean() > 0.85
    assert sorted(Linear.fits) == [64] * 5 + [80]
    assert adapt_detector(Linear, name="it")().lacks(train._replace(states=None)) == "no residual states are stored"


def test_a_detector_reads_what_it_is_told_to() -> None:
    def read(train: AnswerRows, rows: AnswerRows) -> Any:
        return np.array([[float(wrong)] for wrong in rows.labels])

    rows = make_rows(40)
    kind = adapt_detector(Linear, read, name="it")
    assert (
        kind().lacks(rows._replace(states=None)) == "" and auroc(rows.labels, kind().decide(rows, rows).values) == 1.0
    )


def test_an_estimator_is_given_the_statistics_that_it_depends_on() -> None:
    rows = make_rows(10)
    kind = adapt_estimator(Spread, needs="samples", name="Spread")
    assert kind.needs == "samples" and kind().lacks(rows) == ""
    assert kind().values(rows) == pytest.approx([2 + 5 / 9] * 10)  # type: ignore[attr-defined]
    same = Meanings("model", "both", {e.question.id: {("Rome", "Oslo"): "entailment", ("Oslo", "Rome"): "entailment"}
                                      for e in rows.examples})  # fmt: skip
    assert kind().values(rows._replace(meanings=same)) == pytest.approx([1 + 1.0] * 10)  # type: ignore[attr-defined]


def test_an_estimator_that_cannot_be_had_is_left_out_by_name_and_one_of_tokens_is_refused() -> None:
    rows = make_rows(10)

    class Deep(Spread):
        stats_dependencies: ClassVar[list[str]] = ["embeddings", "sample_texts"]

    class Tokens(Spread):
        level = "token"

    assert adapt_estimator(Deep, needs="samples", name="it")().lacks(rows) == "a run does not store embeddings"
    bare = rows._replace(samples=())
    spread = adapt_estimator(Spread, needs="samples", name="it")()
    assert spread.lacks(bare) == "10 of 10 answers have fewer than 2 other samples"
    uneven = rows._replace(samples=[*rows.samples[:-1], rows.samples[-1][:2]])
    with pytest.raises(InputError, match="2 to 3 other samples"):
        spread.decide(uneven, uneven)
    with pytest.raises(InputError, match="it gives numbers for each token"):
        adapt_estimator(Tokens, needs="samples", name="it")().decide(rows, rows)
