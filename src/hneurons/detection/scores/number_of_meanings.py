"""In how many different ways did the model answer the question?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.meanings import lacks_meanings, meaning_counts, meaning_work
from hneurons.detection.scores.score import SCORES, PlainScore


@SCORES.register("number of meanings")
class NumberOfMeanings(PlainScore):
    """How many different things the other samples say."""

    version, needs = 1, "samples"

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_meanings(rows)

    def work_on(self, rows: AnswerRows) -> tuple[str, ...]:
        return meaning_work(rows)

    def values(self, rows: AnswerRows) -> Floats:
        return np.array([float(len(counts)) for counts in meaning_counts(rows)])
