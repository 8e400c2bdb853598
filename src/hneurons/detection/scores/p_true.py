"""Does the model itself find its answer true?"""

import numpy as np

from hneurons.answers.opinions import TRUE
from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.score import SCORES, Cost, PlainScore


@SCORES.register("P(True)")
class PTrue(PlainScore):
    """How likely the model finds "false" against "true" when it is asked about its answer."""

    version, needs, cost = 1, "another pass", Cost(passes=1)
    work = (TRUE,)

    def lacks(self, rows: AnswerRows) -> str:
        return lacks_opinions(rows)

    def values(self, rows: AnswerRows) -> Floats:
        """Log odds of false against true (arXiv 2207.05221), float64 [rows]."""
        return np.array([-opinion.log_odds for opinion in rows.opinions])


def lacks_opinions(rows: AnswerRows) -> str:
    """In words, that the model was not asked about its answers; empty where it was."""
    return "" if rows.opinions else "the model was not asked about its answers"
