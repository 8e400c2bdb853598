"""How unsure was the model on average, whichever tokens it drew?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.score import SCORES, PlainScore, answer_entropies, entropy_work, lacks_entropies


@SCORES.register("mean token entropy")
class MeanEntropy(PlainScore):
    """How unsure the model was at the answer's tokens on average, whichever it drew."""

    version, needs = 1, "log-probabilities"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_entropies(rows)

    def work_on(self, rows: AnswerRows) -> tuple[str, ...]:
        return entropy_work(rows)

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([found.mean for found in answer_entropies(rows)])
