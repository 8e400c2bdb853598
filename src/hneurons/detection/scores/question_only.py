"""Does the question alone tell, whatever the answer?"""

from typing import Any

from hneurons.detection.answer_rows import AnswerRows
from hneurons.detection.scores.score import SCORES, FittedScore


@SCORES.register("question only")
class QuestionOnly(FittedScore):
    """Words of the question (TF-IDF), not the answer."""

    version, needs = 1, "text"

    def features(self, rows: AnswerRows) -> list[str]:
        return [e.question.text for e in rows.examples]

    def prepare(self) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(sublinear_tf=True)
