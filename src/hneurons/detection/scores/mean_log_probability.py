"""How sure was the model of the answer's tokens on average?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.score import SCORES, FittedScore, answer_log_probabilities, lacks_log_probabilities


@SCORES.register("mean log-probability")
class MeanLogProbability(FittedScore):
    """How sure the model was of the answer's tokens on average."""

    version, needs = 1, "log-probabilities"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_log_probabilities(rows)

    def features(self, rows: AnswerRows) -> Floats:
        """Mean natural-log probability of the answer's tokens, float64 [rows, 1]."""
        return np.array([[np.mean(values)] for values in answer_log_probabilities(rows)])
