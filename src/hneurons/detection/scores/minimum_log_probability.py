"""How unsure was the model of the answer's least likely token?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.score import SCORES, PlainScore, answer_log_probabilities, lacks_log_probabilities


@SCORES.register("minimum log-probability")
class MinimumLogProbability(PlainScore):
    """How unsure the model was of the answer's least likely token."""

    version, needs = 1, "log-probabilities"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_log_probabilities(rows)

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([-values.min() for values in answer_log_probabilities(rows)])
