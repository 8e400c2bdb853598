"""What a rival score is, what it may need, and the two usual ways to be one."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from hneurons.core.errors import InputError
from hneurons.core.registry import Registry
from hneurons.core.types import Example
from hneurons.detection.answer_rows import AnswerRows, Decided, Floats, Indices, even_odds
from hneurons.neurons.states import STAGE as STATES_STAGE
from hneurons.sparse.cross_validation import split_groups

Need = Literal["text", "log-probabilities", "samples", "another pass", "internals"]
FOLDS = 5
Refit = Callable[[Indices], Floats]
"""Values of the test answers by a fit on these training rows, which may repeat."""
NEEDS: tuple[Need, ...] = ("text", "log-probabilities", "samples", "another pass", "internals")
"""What a score reads, the cheapest first."""


class Cost(NamedTuple):
    """What a score of one answer costs beyond drawing the answer itself."""

    passes: int = 0
    """Forward passes."""
    samples: int = 0
    """Further answers to the same question."""


class Score:
    """A way to score answers, registered by name as a class; the docstring's first line is shown to users.

    Higher means more likely made up. `needs` is the dearest thing it reads. `fitted` tells whether its values depend on
    the labels of the training answers. `version` changes whenever a value may. `work` are the kinds of timed work whose
    results it reads, such as "states": their time is part of what it costs.
    """

    version: int
    needs: Need
    fitted: bool
    cost = Cost()
    work: ClassVar[tuple[str, ...]] = ()

    def work_on(self, rows: AnswerRows) -> tuple[str, ...]:
        """The kinds of work that it reads of these answers, where that depends on what is stored."""
        return self.work

    slow: ClassVar[bool] = False
    """Whether a refit takes so long that fewer of them are made."""

    def refitter(self, train: AnswerRows, test: AnswerRows) -> Refit | None:
        """How to fit again on a resample of the training answers, choices such as a layer being kept.

        None where nothing is fitted, or where it cannot be fitted again.
        """
        return None

    def lacks(self, rows: AnswerRows) -> str:
        """What the answers lack for this score, in words; empty where nothing is missing."""
        return ""

    def lacks_to_learn(self, train: AnswerRows) -> str:
        """What the training answers lack, in words; empty where nothing is missing."""
        return self.lacks(train)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """Values of the answers in `test` and the threshold above which one is called made up.

        Nothing but `train` may be learned from.
        """
        raise NotImplementedError


SCORES: Registry[type[Score]] = Registry("score", base=Score)


class FittedScore(Score):
    """Log odds of a logistic regression (balanced classes) on the training answers' features."""

    fitted = True

    def features(self, rows: AnswerRows) -> Any:
        """What the regression reads of each answer; by default float64 [rows, features], which are standardised."""
        raise NotImplementedError

    def prepare(self) -> Any:
        """The transformer between features and regression."""
        from sklearn.preprocessing import StandardScaler

        return StandardScaler()

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(self.prepare(), LogisticRegression(class_weight="balanced"))
        model.fit(self.features(train), train.labels)
        return Decided(model.decision_function(self.features(test)), 0.0)

    def refitter(self, train: AnswerRows, test: AnswerRows) -> Refit:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        known, new = self.features(train), self.features(test)

        def refit(rows: Indices) -> Floats:
            model = make_pipeline(self.prepare(), LogisticRegression(class_weight="balanced"))
            model.fit([known[row] for row in rows], train.labels[rows])
            return np.asarray(model.decision_function(new))

        return refit


class PlainScore(Score):
    """A number of the answer alone. Only its threshold is learned: where training answers have even odds."""

    fitted = False

    def values(self, rows: AnswerRows) -> Floats:
        """One number an answer, float64 [rows], higher meaning more likely made up."""
        raise NotImplementedError

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        return Decided(self.values(test), even_odds(self.values(train), train.labels.astype(np.int64)))


def cross_fit(train: AnswerRows, decide: Callable[[Indices, Indices], Floats]) -> Floats:
    """Values of the training answers, each by a fit without its fold: `decide` (rows to fit on, rows to decide).

    Folds keep the answers of a group together. With one group of a class nothing can be held out, and all values are 0.
    """
    labels = train.labels
    fewest = min(len({g for g, wrong in zip(train.groups, labels, strict=True) if wrong == of}) for of in (True, False))
    found = np.zeros(len(labels))
    if fewest >= 2:
        folds = split_groups(labels.astype(np.float64), train.groups, min(FOLDS, fewest), 0)
        for fold in np.unique(folds):
            found[folds == fold] = decide(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
    return found


def answer_span(example: Example) -> tuple[int, int]:
    """The tokens of the response that are the answer. Raises `InputError` where it was not located."""
    if example.token_span is None:
        raise InputError(f"example {example.id} has no answer span: run 'locate' first")
    return example.token_span


def answer_log_probabilities(rows: AnswerRows) -> list[Floats]:
    """The natural-log probabilities of each answer's tokens, float64 [tokens] an answer."""
    return [np.asarray(e.response.logprobs[slice(*answer_span(e))], dtype=np.float64) for e in rows.examples]


class Entropies(NamedTuple):
    """Mean and largest entropy in nats at an answer's tokens."""

    mean: float
    largest: float


def answer_entropies(rows: AnswerRows) -> list[Entropies]:
    """Those stored while sampling, or else those of the pass that read the residual states."""
    found = []
    for number, example in enumerate(rows.examples):
        if example.response.entropies:
            own = example.response.entropies[slice(*answer_span(example))]
            found.append(Entropies(float(np.mean(own)), max(own)))
        else:
            assert rows.states is not None
            row = rows.states.rows[rows.state_rows[number]]
            found.append(Entropies(row["mean_entropy"], row["largest_entropy"]))
    return found


def entropy_work(rows: AnswerRows) -> tuple[str, ...]:
    """Nothing where all entropies were stored while sampling, or else the pass that read the states."""
    return () if all(e.response.entropies for e in rows.examples) else (STATES_STAGE,)


def lacks_entropies(rows: AnswerRows) -> str:
    """In words, how many answers came without token entropies; empty where none did, or a pass gave them."""
    if rows.states is not None:
        return ""
    bare = sum(not e.response.entropies for e in rows.examples)
    return f"{bare} of {len(rows.examples)} answers have no token entropies" if bare else ""


def lacks_log_probabilities(rows: AnswerRows) -> str:
    """In words, how many answers came without log-probabilities; empty where none did."""
    bare = sum(not e.response.logprobs for e in rows.examples)
    return f"{bare} of {len(rows.examples)} answers have no log-probabilities" if bare else ""
