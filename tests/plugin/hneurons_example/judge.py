"""A judge: the whole reply must be one of the known answers."""

from collections.abc import Sequence

from hneurons.answers.judging import Judge
from hneurons.core.types import Judgement, Question, Response
from hneurons.models.endpoint import Endpoint


class ExactJudge(Judge):
    """Calls a reply correct where it is a known answer to the letter."""

    version, chunk = 1, 256

    @staticmethod
    def judge(pairs: Sequence[tuple[Question, Response]], endpoint: Endpoint | None) -> list[Judgement]:
        judged = []
        for question, response in pairs:
            known = [answer for answer in question.answers if answer == response.text]
            verdict = "correct" if known else "incorrect" if response.text.strip() else "unscored"
            judged.append(Judgement(response.question_id, response.sample, verdict, *known[:1]))
        return judged
