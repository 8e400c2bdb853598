"""In how many different ways did the model answer the question?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.meanings import SampleScore, meaning_counts
from hneurons.detection.scores.score import SCORES


@SCORES.register("number of meanings")
class NumberOfMeanings(SampleScore):
    """How many different things the other samples say."""

    version = 2

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([float(len(counts)) for counts in meaning_counts(rows)])
