"""The calibrated probability that a reply is right, and how often the verdicts that rest on it are wrong.

There are two logistic regressions over the features of `evidence`: one where a known answer was found in the reply, and
one where none was. `scripts/fit_alias_judge.py` fits them on human judgements (EVOUNA, arXiv 2305.12421).
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from hneurons.answers.judges.evidence import Evidence
from hneurons.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a probability of being right becomes a verdict: at most `incorrect`, at least `correct`.

    Between the two a reply is unscored. Raises `InputError` where they cross or are no probabilities.
    """

    incorrect: float
    correct: float

    def __post_init__(self) -> None:
        if not 0 <= self.incorrect < self.correct <= 1:
            raise InputError(
                "the thresholds should be probabilities with incorrect below correct, found "
                f"{self.incorrect} and {self.correct}"
            )


DEFAULT_THRESHOLDS = Thresholds(incorrect=0.17, correct=0.9)


@cache
def fitted() -> dict[str, Any]:
    """The stored fit: feature names, means, scales and coefficients of both regressions, and their measured errors."""
    text = files("hneurons.answers.judges").joinpath("data/alias_judge.json").read_text(encoding="utf-8")
    stored: dict[str, Any] = json.loads(text)
    return stored


def right_probability(evidence: Evidence) -> float:
    """The probability that a reply with this evidence is right."""
    weights, intercept = _weights(evidence.match is not None)
    score = intercept + sum(weight * value for weight, value in zip(weights, evidence.values, strict=True))
    return 1 / (1 + math.exp(-score)) if score > -700 else 0.0


@cache
def _weights(found: bool) -> tuple[tuple[float, ...], float]:
    """Coefficients of the unscaled features, and the intercept."""
    part = fitted()["found" if found else "not_found"]
    return tuple(part["coefficients"]), float(part["intercept"])
