"""How unsure was the model where it was least sure?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.score import SCORES, PlainScore, answer_entropies, entropy_work, lacks_entropies


@SCORES.register("largest token entropy")
class LargestEntropy(PlainScore):
    """How unsure the model was where it was least sure of the answer."""

    version, needs = 1, "log-probabilities"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_entropies(rows)

    def work_on(self, rows: AnswerRows) -> tuple[str, ...]:
        return entropy_work(rows)

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([found.largest for found in answer_entropies(rows)])
