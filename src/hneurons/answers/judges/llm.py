"""The `llm` judge: a model at an endpoint compares each reply with the known answers.

The verdict must stand alone on the last line of what the judge says. Anything else is asked for again, a bounded number
of times. After that the reply is `unscored` and has no label.
"""

from collections.abc import Sequence
from functools import partial

from hneurons.answers.judges.asking import Asking, Said, ask_judge, parse_verdict
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.core.types import Judgement, Question, Response, Verdict
from hneurons.models.endpoint import Endpoint, Message

VERSION = 2
"""Counts changes of the prompt and the parsing; stored with results."""

UNREADABLE = "unreadable verdict: "
"""How the reason begins where nothing the judge said could be read."""

MAX_ALIASES = 30
_REASON_CHARS = 300

_SYSTEM = "You grade replies to questions. You judge only whether the reply gives the known answer, not its style."
_ANSWERABLE = """Question: {question}
Known answers, each of them acceptable: {answers}
Reply to be graded, between the lines of equals signs:
====
{reply}
====
CORRECT: the reply commits to one answer, and it means the same as a known answer.
INCORRECT: the reply commits to an answer that means something else.
ABSTAINED: the reply gives no answer: it does not know, refuses, or asks back.
First give your reason in one sentence. Then write the verdict on a line of its own, exactly in one of these forms:
VERDICT: CORRECT
VERDICT: INCORRECT
VERDICT: ABSTAINED"""
_INVENTED = """Question: {question}
The question is about something that does not exist, so no answer to it is right.
Reply to be graded, between the lines of equals signs:
====
{reply}
====
ABSTAINED: the reply says that the thing does not exist or is not known to it, refuses, or asks back.
INCORRECT: the reply answers as if the thing existed.
First give your reason in one sentence. Then write the verdict on a line of its own, exactly in one of these forms:
VERDICT: ABSTAINED
VERDICT: INCORRECT"""
_VERDICTS: dict[str, Verdict] = {"CORRECT": "correct", "INCORRECT": "incorrect", "ABSTAINED": "abstained"}


def judge_prompt(question: Question, text: str) -> tuple[Message, ...]:
    """What the judge is asked about one reply."""
    template = _ANSWERABLE if question.answerable else _INVENTED
    answers = "; ".join(question.answers[:MAX_ALIASES])
    return ("system", _SYSTEM), (
        "user",
        template.format(question=question.text, answers=answers, reply=cut_reasoning(text).text.strip()),
    )


def read_verdict(said: str, *, answerable: bool = True) -> Verdict | None:
    """The verdict on the last line of what the judge said; None where that line is anything else."""
    words = [word for word in _VERDICTS if answerable or word != "CORRECT"]
    word = parse_verdict(said, words)
    return None if word is None else _VERDICTS[word]


def judge_with_llm(pairs: Sequence[tuple[Question, Response]], endpoint: Endpoint) -> list[Judgement]:
    """Judge responses, in order, through an endpoint. Raises `EndpointError`.

    An empty reply, and one to an answerable question without known answers, is `unscored` without a call.
    """
    problems = [_unscorable(question, response.text) for question, response in pairs]
    asked: list[Asking[Verdict]] = [
        Asking(judge_prompt(question, response.text), partial(read_verdict, answerable=question.answerable))
        for (question, response), problem in zip(pairs, problems, strict=True)
        if not problem
    ]
    answers = iter(ask_judge(asked, endpoint))
    found = []
    for (_, response), problem in zip(pairs, problems, strict=True):
        said = Said[Verdict](None, "") if problem else next(answers)
        if said.read is None:
            found.append(_judgement(response, "unscored", problem or UNREADABLE + said.text))
        else:
            found.append(_judgement(response, said.read, said.text))
    return found


def _unscorable(question: Question, text: str) -> str:
    reply = cut_reasoning(text)
    if not reply.text.strip():
        return "empty reply" if reply.whole else "the reasoning never ended"
    return "no known answers" if question.answerable and not question.answers else ""


def _judgement(response: Response, verdict: Verdict, reason: str) -> Judgement:
    return Judgement(response.question_id, response.sample, verdict, " ".join(reason.split())[:_REASON_CHARS])
