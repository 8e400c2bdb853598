"""A rival score: how many different words the answer has."""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores import PlainScore


class DistinctWords(PlainScore):
    """The number of different words in the response."""

    version, needs = 1, "text"

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([float(len(set(e.response.text.lower().split()))) for e in rows.examples])
