"""How many tokens was the model torn between, as it were, at each token of the answer?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.score import SCORES, PlainScore, answer_log_probabilities, lacks_log_probabilities


@SCORES.register("perplexity")
class Perplexity(PlainScore):
    """The exponential of the mean negative log-probability of the answer's tokens."""

    version, needs = 1, "log-probabilities"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_log_probabilities(rows)

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([np.exp(-values.mean()) for values in answer_log_probabilities(rows)])
