"""How evenly are the samples spread over different meanings?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.meanings import entropy, lacks_meanings, meaning_counts, meaning_work
from hneurons.detection.scores.score import SCORES, PlainScore


@SCORES.register("semantic entropy")
class SemanticEntropy(PlainScore):
    """How evenly the other samples are spread over what they mean, every sample counting alike."""

    version, needs = 1, "samples"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_meanings(rows)

    def work_on(self, rows: AnswerRows) -> tuple[str, ...]:
        return meaning_work(rows)

    def values(self, rows: AnswerRows) -> Floats:
        """Discrete semantic entropy in nats (Farquhar and others, Nature 630, 2024), float64 [rows]."""
        return np.array([entropy(np.array([*count.values()], dtype=np.float64)) for count in meaning_counts(rows)])
