"""Scores made of what other packages have: a detector that fits and scores, or an estimator of lm-polygraph.

A package registers what these functions return under the entry points `hneurons.scores`; see docs/rivals.md.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from hneurons.core.errors import InputError
from hneurons.detection.answer_rows import AnswerRows, Decided, Floats, even_odds
from hneurons.detection.scores.meanings import lacks_meanings, sample_meanings
from hneurons.detection.scores.residual import choose_state, lacks_states, read_states
from hneurons.detection.scores.score import (
    Cost,
    Need,
    PlainScore,
    Score,
    answer_log_probabilities,
    answer_span,
    cross_fit,
    lacks_entropies,
    lacks_log_probabilities,
)
from hneurons.neurons.states import STAGE, Place

Read = Callable[[AnswerRows, AnswerRows], Any]
"""What a detector is given of the second rows: an array of one row an answer. It may choose by the first, the training
answers, which it must do in the same way for both."""


class FitPredict(Protocol):
    """A detector as OpenHalDet and others have it: `predict_score` is higher where an answer is made up."""

    def fit(self, features: Any, labels: Any) -> object:
        """features: one row an answer; labels: int64 [rows], 1 where the answer is wrong."""

    def predict_score(self, features: Any) -> Any:
        """One number an answer."""


def chosen_states(place: Place = "answer end") -> Read:
    """The residual stream at a place, of the layer where a linear probe does best on training folds."""

    def read(train: AnswerRows, rows: AnswerRows) -> Floats:
        return read_states(rows, place, choose_state(train, (place,)).layer)

    return read


def adapt_detector(make: Callable[[], FitPredict], read: Read | None = None, *, name: str) -> type[Score]:
    """A score of the detectors that `make` gives, a new one for each fit. `name` is what a message calls it.

    `read` gives what it is fitted on; by default `chosen_states`. The threshold is where training answers, each scored
    by a fit without its fold, have even odds.
    """
    reads = read or chosen_states()

    class Adapted(Score):
        version, fitted = 1, True
        needs: Need = "internals"
        cost, work = Cost(passes=1), (STAGE,)

        def lacks(self, rows: AnswerRows) -> str:
            return lacks_states(rows) if read is None else ""

        def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
            known, labels = np.asarray(reads(train, train)), train.labels.astype(np.int64)

            def score(fitted: Any, new: Any) -> Floats:
                detector = make()
                detector.fit(known[fitted], labels[fitted])
                return np.asarray(detector.predict_score(new), dtype=np.float64).reshape(len(new))

            held_out = cross_fit(train, lambda kept, out: score(kept, known[out]))
            values = score(np.arange(len(labels)), np.asarray(reads(train, test)))
            return Decided(values, even_odds(held_out, labels))

    Adapted.__doc__ = f"What {name} says, fitted on the training answers."
    return Adapted


class Estimator(Protocol):
    """An estimator of lm-polygraph: higher where an answer is less certain."""

    level: str
    stats_dependencies: list[str]

    def __call__(self, stats: dict[str, Any]) -> Any:
        """One number an answer, of the statistics that it depends on."""


def adapt_estimator(make: Callable[[], Estimator], *, needs: Need, name: str) -> type[Score]:
    """A score of an lm-polygraph estimator, from what a run has stored. `name` is what a message calls it.

    It is left out by name where it depends on a statistic that a run does not store. Raises `InputError` when it is
    used and gives one number a token.
    """

    class Adapted(PlainScore):
        version = 1

        def lacks(self, rows: AnswerRows) -> str:
            wanted = make().stats_dependencies
            unknown = [stat for stat in wanted if stat not in STATISTICS]
            if unknown:
                return f"a run does not store {', '.join(unknown)}"
            return next((said for stat in wanted if (said := STATISTICS[stat][0](rows))), "")

        def values(self, rows: AnswerRows) -> Floats:
            estimator = make()
            if estimator.level != "sequence":
                raise InputError(f"{name} gives numbers for each {estimator.level}: adapt one for the whole answer")
            stats = {stat: STATISTICS[stat][1](rows) for stat in estimator.stats_dependencies}
            return np.asarray(estimator(stats), dtype=np.float64)

    Adapted.needs = needs
    Adapted.__doc__ = f"What {name} of lm-polygraph says of the stored answers and samples."
    return Adapted


def _nothing(rows: AnswerRows) -> str:
    return ""


def _entropies(rows: AnswerRows) -> list[Floats]:
    return [np.asarray(e.response.entropies[slice(*answer_span(e))]) for e in rows.examples]


def _lacks_entropies(rows: AnswerRows) -> str:
    return lacks_entropies(rows._replace(states=None))


def _sample_sums(rows: AnswerRows) -> list[list[float]]:
    return [[float(np.sum(sample.logprobs)) for sample in samples] for samples in rows.samples]


def _lacks_sample_sums(rows: AnswerRows) -> str:
    bare = sum(any(not sample.logprobs for sample in samples) for samples in rows.samples)
    return lacks_meanings(rows) or (f"{bare} answers have samples without log-probabilities" if bare else "")


def _classes(rows: AnswerRows) -> dict[str, list[Any]]:
    to_class = sample_meanings(rows)
    groups = [[[n for n, own in enumerate(one) if own == c] for c in range(max(one) + 1)] for one in to_class]
    return {"sample_to_class": [dict(enumerate(one)) for one in to_class], "class_to_sample": groups}


def _matrix(rows: AnswerRows, relation: str) -> Any:
    """1 where the first of two samples says this of the second, float64 [answers, samples, samples]."""
    sizes = {len(samples) for samples in rows.samples}
    if len(sizes) > 1:
        raise InputError(f"answers have {min(sizes)} to {max(sizes)} other samples: this estimator needs equally many")
    found = []
    for example, samples in zip(rows.examples, rows.samples, strict=True):
        say, texts = rows.meanings.says(example.question.id), [sample.text for sample in samples]
        found.append([[float(say(a, b) == relation) for b in texts] for a in texts])
    return np.array(found)


STATISTICS: dict[str, tuple[Callable[[AnswerRows], str], Callable[[AnswerRows], Any]]] = {
    "greedy_log_likelihoods": (lacks_log_probabilities, answer_log_probabilities),
    "entropy": (_lacks_entropies, _entropies),
    "greedy_texts": (_nothing, lambda rows: [e.response.text for e in rows.examples]),
    "input_texts": (_nothing, lambda rows: [e.question.text for e in rows.examples]),
    "sample_texts": (lacks_meanings, lambda rows: [[s.text for s in samples] for samples in rows.samples]),
    "sample_log_probs": (_lacks_sample_sums, _sample_sums),
    "semantic_classes_entail": (lacks_meanings, _classes),
    "semantic_matrix_entail": (lacks_meanings, lambda rows: _matrix(rows, "entailment")),
    "semantic_matrix_contra": (lacks_meanings, lambda rows: _matrix(rows, "contradiction")),
}
"""What of lm-polygraph's statistics a run has: what is lacking, in words, and the values."""
