"""Does the length of the answer tell?"""

import numpy as np

from hneurons.detection.answer_rows import AnswerRows, Floats
from hneurons.detection.scores.score import SCORES, FittedScore, answer_span


@SCORES.register("answer length")
class AnswerLength(FittedScore):
    """Tokens and characters of the answer and of the response."""

    version, needs = 1, "text"

    def features(self, rows: AnswerRows) -> Floats:
        """log(1 + count), float64 [rows, 3]: tokens of the answer, tokens and characters of the response."""
        counts = []
        for e in rows.examples:
            begin, end = answer_span(e)
            counts.append([end - begin, len(e.response.token_ids), len(e.response.text)])
        return np.log1p(np.array(counts, dtype=np.float64))
