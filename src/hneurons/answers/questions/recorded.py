"""Answers that were recorded elsewhere, with the questions that they answer and verdicts where somebody gave them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

from hneurons.answers.questions.answer_fields import (
    read_answer_rows,
    read_asked,
    read_finish_reason,
    read_list,
    read_logprobs,
    read_response,
    read_token_ids,
)
from hneurons.answers.questions.rows import QUESTIONS, Row, question_key
from hneurons.core.errors import InputError, SchemaError
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question, Response, Verdict

RECORDED = "recorded"


class RecordedAnswer(NamedTuple):
    """An answer with its question; `verdict` is None where nobody judged it."""

    question: Question
    response: Response
    verdict: Verdict | None


@QUESTIONS.register(RECORDED)
def read_recorded_questions(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """The questions of recorded answers, as recorded:FILE; these answers are used, and none is drawn.

    Rows have `question` and `response`. Several rows may answer one question. Further fields may be there:

    - `answers` or `aliases`: what is right, for the judge;
    - `verdict`: correct, incorrect, abstained or unscored; or `correct`: true or false. The judge is then not asked;
    - `token_ids`, `logprobs`, `finish_reason`: of the response, as the model generated it;
    - `context`, `question_id`, `relation`, `domain`, `answerable`, `fact`.
    """
    return iter({answer.question.id: answer.question for answer in read_recorded(files)}.values())


def read_recorded(files: Sequence[Path]) -> list[RecordedAnswer]:
    """The answers in these files, in their order. The first row of a question says what is known about it.

    Answers to one question are numbered as they come. Raises `InputError` where a file is missing or empty,
    `SchemaError` that names the row and field of a wrong value.
    """
    if not files:
        raise InputError(
            f"'{RECORDED}' needs a file: give {RECORDED}:FILE with rows like "
            '{"question": "...", "answers": ["..."], "response": "..."}'
        )
    asked: dict[str, Question] = {}
    drawn: Counter[str] = Counter()
    found = []
    for row in read_answer_rows(files):
        question = _question(row)
        known = asked.setdefault(question.id, question)
        if question_key(known.text) != question_key(question.text):
            raise SchemaError(f"{row.where}: the question_id '{question.id}' stands for another question before it")
        ids = read_token_ids(row)
        response = Response(
            known.id, drawn[known.id], read_response(row), ids, read_logprobs(row, ids), read_finish_reason(row)
        )
        drawn[known.id] += 1
        found.append(RecordedAnswer(known, response, _verdict(row)))
    return found


def group_by_text(questions: Iterable[Question]) -> list[Question]:
    """The questions, those of one text under several ids as one fact: that which one of them names, or the text."""
    same: dict[str, list[Question]] = {}
    for question in (asked := list(questions)):
        same.setdefault(question_key(question.text), []).append(question)
    facts = {key: next((q.fact for q in found if q.fact), key) for key, found in same.items() if len(found) > 1}
    return [replace(q, fact=q.fact or facts.get(question_key(q.text), "")) for q in asked]


def _question(row: Row) -> Question:
    if read_list(row, "messages"):
        raise SchemaError(f"{row.where}: a run asks single questions, so that 'messages' can only be scored")
    text = read_asked(row)
    field = next((name for name in ("answers", "aliases") if row.values.get(name) not in (None, "", [])), "")
    return Question(
        id=row.optional("question_id") or fingerprint(question_key(text)),
        text=text,
        answers=row.texts(field) if field else (),
        source=RECORDED,
        domain=row.optional("domain"),
        relation=row.optional("relation"),
        answerable=row.flag("answerable", default=True),
        fact=row.optional("fact"),
    )


def _verdict(row: Row) -> Verdict | None:
    said, known = row.optional("verdict"), get_args(Verdict)
    if not said:
        given = row.values.get("correct") not in (None, "")
        return None if not given else "correct" if row.flag("correct", default=False) else "incorrect"
    if said not in known:
        raise SchemaError(f"{row.where}: 'verdict' should be one of {', '.join(known)}, found '{said}'")
    return said  # type: ignore[return-value]
