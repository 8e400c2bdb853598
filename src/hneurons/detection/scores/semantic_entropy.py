"""How evenly are the samples spread over different meanings?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.meanings import SampleScore, entropy, meaning_counts
from hneurons.detection.scores.score import SCORES


@SCORES.register("semantic entropy")
class SemanticEntropy(SampleScore):
    """How evenly the other samples are spread over what they mean, every sample counting alike."""

    version = 2

    def values(self, rows: AnswerRows) -> Floats:
        """Discrete semantic entropy in nats (Farquhar and others, Nature 630, 2024), float64 [rows]."""
        return np.array([entropy(np.array([*count.values()], dtype=np.float64)) for count in meaning_counts(rows)])
