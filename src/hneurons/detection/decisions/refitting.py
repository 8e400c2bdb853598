"""New weights for a detector's own neurons, from labelled answers of another kind than it was fitted on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hneurons.answers.questions import question_marks
from hneurons.core.errors import InputError
from hneurons.core.seeds import derive_seed, fingerprint
from hneurons.core.types import Question
from hneurons.detection.answer_rows import even_odds
from hneurons.detection.decisions.labelled import LabelledScores, demand_both
from hneurons.detection.detector import Detector

LEAST = 10
"""Answers of each class that each half needs."""


_BEFORE = "fitted on before"


class Refitted(NamedTuple):
    """A detector with new weights, and the log odds that it gives answers which it was not fitted on."""

    detector: Detector
    scores: LabelledScores


def refit_weights(
    detector: Detector, scores: LabelledScores, *, questions: Sequence[Question] = (), seed: int = 0
) -> Refitted:
    """Fit the weights of the detector's neurons anew on half of the labelled answers, by ridge (C = 1).

    The other half, with other groups, comes back with its new log odds, to calibrate on. The threshold lies where these
    have even odds. Classes count alike, as in `fit`. The new detector keeps the marks of all that it and the old one
    were fitted on. Without `questions`, those of the answers, it knows them by their groups alone.

    Raises `NotEnoughDataError` where a half has few answers of a class, `InputError` where contributions are not known.
    """
    from sklearn.linear_model import LogisticRegression

    contributions = scores.contributions
    if contributions is None or contributions.shape[1] != len(detector.columns):
        raise InputError(f"the contributions of '{scores.name}' are not of this detector: score these answers again")
    half = np.array([derive_seed("refit", seed, group) % 2 == 0 for group in scores.groups], dtype=bool)
    for part in (half, ~half):
        rows = tuple(row for row, kept in zip(scores.rows, part.tolist(), strict=True) if kept)
        demand_both(replace(scores, rows=rows), LEAST, "each half of a refit")
    centre, spread = contributions[half].mean(axis=0), contributions[half].std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    model = LogisticRegression(class_weight="balanced", max_iter=2000)
    model.fit((contributions[half] - centre) / spread, scores.wrong[half])
    factors = model.coef_[0] / spread
    intercept = float(model.intercept_[0] - factors @ centre)
    log_odds = intercept + contributions @ factors
    groups = {group for group, fitted in zip(scores.groups, half.tolist(), strict=True) if fitted}
    marks = [question_marks(question) for question in questions if question.group in groups]
    settings = {"refitted": detector.content, "on": scores.name, "answers": int(half.sum()), "seed": seed}
    if not is_fully_known(detector):
        settings |= {_BEFORE: "not known"}
    refitted = replace(
        detector,
        coef=detector.coef * factors,
        intercept=intercept,
        threshold=even_odds(log_odds[~half], scores.wrong[~half].astype(np.int64)),
        settings=settings,
        fitted_on=(detector.fitted_on or frozenset()).union(map(fingerprint, groups), *marks),
    )
    kept = tuple(
        replace(row, log_odds=round(value, 6), contributions=tuple((np.array(row.contributions) * factors).tolist()))
        for row, value, other in zip(scores.rows, log_odds.tolist(), (~half).tolist(), strict=True)
        if other
    )
    left_out = {**scores.left_out, "refitted on": int(half.sum())}
    return Refitted(refitted, LabelledScores(scores.name, refitted.content, kept, left_out))


def is_fully_known(detector: Detector, *, beside_run: bool = False) -> bool:
    """Whether all questions are known that the detector was fitted on; `beside_run`: its run says what it trained on.

    A refit of an earlier version does not say on which half it was fitted.
    """
    if detector.fitted_on is None:
        return beside_run and "refitted" not in detector.settings
    return beside_run or _BEFORE not in detector.settings
