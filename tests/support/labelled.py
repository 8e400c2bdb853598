"""Labelled scores drawn from known probabilities."""

import numpy as np
from scipy.special import expit

from hneurons.detection.decisions.labelled import LabelledScore, LabelledScores
from hneurons.detection.detector import Detector
from support.planted import make_identity


def make_scores(
    n: int, *, slope: float = 1.0, offset: float = 0.0, seed: int = 0, name: str = "planted", mean: float = 0.0
) -> LabelledScores:
    """`n` answers with normal log odds s, each wrong with the probability that slope s + offset stand for."""
    rng = np.random.default_rng(seed)
    s = rng.normal(mean, 2, n)
    wrong = rng.random(n) < expit(slope * s + offset)
    rows = zip(s.tolist(), wrong.tolist(), strict=True)
    return LabelledScores(
        name, "detector", tuple(LabelledScore(f"{i}", f"{i}", a, b) for i, (a, b) in enumerate(rows)), {}
    )


def bare_detector(*, threshold: float = 0.0) -> Detector:
    """A detector of four neurons of no model."""
    ones = np.ones(4)
    return Detector(make_identity((2, 8)), np.arange(4), ones, ones, ones, 0.0, threshold, {}, {})
