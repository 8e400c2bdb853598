"""Files of answers that are to be scored: JSONL, JSON, CSV, TSV or Parquet, gzip or not."""

from collections.abc import Iterator
from pathlib import Path

from hneurons.answers.questions.answer_fields import (
    read_answer_rows,
    read_finish_reason,
    read_list,
    read_response,
    read_token_ids,
)
from hneurons.answers.questions.rows import Row
from hneurons.core.errors import SchemaError
from hneurons.detection.assessment import Answer
from hneurons.models.endpoint import Message


def read_answers(path: Path) -> Iterator[Answer]:
    """The answers in a file, one a row.

    - `question`, or `messages`: a list of {"role", "content"} that ends with the user's turn.
    - `response` or `answer`: the text, letter for letter.
    - `id` (by default the row's number), `context`, `token_ids` and `finish_reason` may be missing.

    In CSV, lists are JSON text. Raises `InputError` where the file is missing or empty, `SchemaError` that names the
    row and field of a wrong value.
    """
    for number, row in enumerate(read_answer_rows([path]), 1):
        messages = _messages(row)
        yield Answer(
            id=row.optional("id") or str(number),
            question="" if messages else row.text("question"),
            response=read_response(row),
            context=row.optional("context"),
            messages=messages,
            token_ids=read_token_ids(row),
            finish_reason=read_finish_reason(row),
        )


def _messages(row: Row) -> tuple[Message, ...]:
    found: list[Message] = []
    for turn in read_list(row, "messages"):
        texts = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if not all(isinstance(text, str) for text in texts):
            raise SchemaError(f"{row.where}: every item of 'messages' needs a 'role' and a 'content' of text")
        found.append(texts)  # type: ignore[arg-type]
    if found and found[-1][0] != "user":
        raise SchemaError(f"{row.where}: 'messages' must end with the user's turn; the response is the next one")
    return tuple(found)
