"""The user's own questions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hneurons.answers.questions.rows import QUESTIONS, demands_answers, read_rows
from hneurons.core.errors import InputError
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question


@QUESTIONS.register("file")
@demands_answers
def read_own_file(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
    """Your own questions, as file:FILE with rows of question and answers.

    Rows have `question` and `answers` (or `answer`). These are a text, a number or a list, and not needed where
    `answerable` is false. Further fields may be there:

    - `id` and `domain`;
    - `relation`: questions made from one template. Classes are balanced within it.
    - `fact`: questions that ask the same thing. They are never split between training and test.
    """
    if not files:
        raise InputError('\'file\' needs a file: give file:FILE with rows like {"question": "...", "answers": ["..."]}')
    for row in read_rows(files):
        text = row.text("question")
        answerable = row.flag("answerable", default=True)
        field = "answer" if "answers" not in row.values and "answer" in row.values else "answers"
        yield Question(
            id=row.optional("id") or fingerprint(text),
            text=text,
            answers=row.texts(field) if answerable else (),
            source="file",
            domain=row.optional("domain"),
            relation=row.optional("relation"),
            answerable=answerable,
            fact=row.optional("fact"),
        )
