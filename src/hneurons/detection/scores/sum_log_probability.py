"""How unlikely was the whole answer?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.score import SCORES, PlainScore, answer_log_probabilities, lacks_log_probabilities


@SCORES.register("sum of log-probabilities")
class SumLogProbability(PlainScore):
    """How unlikely the whole answer was."""

    version, needs = 1, "log-probabilities"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_log_probabilities(rows)

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([-values.sum() for values in answer_log_probabilities(rows)])
