"""Leak checks: what predicts a wrong answer without looking at neurons, fitted and tested on the same rows.

A detector that does not beat these may only have read the answer's length, the topic of the question, or the model's
own uncertainty.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hneurons.core.errors import InputError
from hneurons.core.types import Example

Floats = NDArray[np.float64]
BASELINES = {
    "answer length": "tokens and characters of the answer and of the response",
    "question only": "words of the question (TF-IDF), not the answer",
    "mean log-probability": "how sure the model was of the answer's tokens",
}


def baseline_scores(train: Sequence[Example], test: Sequence[Example]) -> dict[str, Floats]:
    """Decision values of each baseline on `test`, higher meaning more likely wrong; fitted on `train`.

    All examples must have a token span. The log-probability baseline is left out where responses carry none.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = [e.hallucinated for e in train]
    lengths = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    lengths.fit(_lengths(train), labels)
    words = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(class_weight="balanced"))
    words.fit([e.question.text for e in train], labels)
    scores = {
        "answer length": lengths.decision_function(_lengths(test)),
        "question only": words.decision_function([e.question.text for e in test]),
    }
    if all(e.response.logprobs for e in [*train, *test]):
        confidence = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
        confidence.fit(_logprobs(train), labels)
        scores["mean log-probability"] = confidence.decision_function(_logprobs(test))
    return scores


def _span(example: Example) -> tuple[int, int]:
    if example.token_span is None:
        raise InputError(f"example {example.id} has no answer span: run 'locate' first")
    return example.token_span


def _lengths(examples: Sequence[Example]) -> Floats:
    """log(1 + count), float64 [examples, 3]."""
    rows = []
    for e in examples:
        begin, end = _span(e)
        rows.append([end - begin, len(e.response.token_ids), len(e.response.text)])
    return np.log1p(np.array(rows, dtype=np.float64))


def _logprobs(examples: Sequence[Example]) -> Floats:
    """Mean natural-log probability of the answer's tokens, float64 [examples, 1]."""
    return np.array([[np.mean(e.response.logprobs[slice(*_span(e))])] for e in examples])
