"""Does the confidence that the model states tell?"""

import numpy as np

from hneurons.answers.opinions import NUMBER
from hneurons.detection.answer_rows import AnswerRows, Decided, Floats, even_odds
from hneurons.detection.scores.p_true import lacks_opinions
from hneurons.detection.scores.score import SCORES, Cost, Score

MOST_UNREAD = 0.05
"""Share of replies without a number above which the score is left out."""


@SCORES.register("verbalised confidence")
class VerbalisedConfidence(Score):
    """The percentage by which the model says that its answer is false."""

    version, needs, fitted, cost = 1, "another pass", False, Cost(passes=2)
    work = (NUMBER,)

    def lacks(self, rows: AnswerRows) -> str:
        unread = sum(opinion.number is None for opinion in rows.opinions)
        if unread > MOST_UNREAD * len(rows.opinions):
            return f"{unread} of {len(rows.opinions)} replies hold no number from 0 to 100"
        return lacks_opinions(rows)

    def decide(self, train: AnswerRows, test: AnswerRows) -> Decided:
        """100 less the number that the model wrote. A reply without one counts as the training answers' median."""
        known, new = _numbers(train), _numbers(test)
        middle = float(np.nanmedian(known))
        known, new = np.nan_to_num(known, nan=middle), np.nan_to_num(new, nan=middle)
        return Decided(new, even_odds(known, train.labels.astype(np.int64)))


def _numbers(rows: AnswerRows) -> Floats:
    return np.array([np.nan if opinion.number is None else 100.0 - opinion.number for opinion in rows.opinions])
