"""Files of answers that are to be scored: JSONL, JSON, CSV, TSV or Parquet, gzip or not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from hneurons.answers.questions.rows import Row, read_rows
from hneurons.core.errors import SchemaError
from hneurons.core.types import FinishReason
from hneurons.detection.assessing import Answer
from hneurons.models.endpoint import Message


def read_answers(path: Path) -> Iterator[Answer]:
    """The answers in a file, one a row.

    - `question`, or `messages`: a list of {"role", "content"} that ends with the user's turn.
    - `response` or `answer`: the text, letter for letter.
    - `id` (by default the row's number), `context`, `token_ids` and `finish_reason` may be missing.

    In CSV, lists are JSON text. Raises `InputError` where the file is missing or empty, `SchemaError` that names the
    row and field of a wrong value.
    """
    for number, row in enumerate(read_rows([path]), 1):
        messages = _messages(row)
        yield Answer(
            id=row.optional("id") or str(number),
            question="" if messages else row.text("question"),
            response=_response(row),
            context=row.optional("context"),
            messages=messages,
            token_ids=_token_ids(row),
            finish_reason=_finish_reason(row),
        )


def _response(row: Row) -> str:
    field = "response" if "response" in row.values else "answer"
    if field not in row.values:
        raise SchemaError(f"{row.where}: there is no field 'response' (or 'answer'): name the column with the text so")
    value = row.values[field]
    if value is None or value != value:  # NaN marks an empty cell
        return ""
    if isinstance(value, bool | list | dict):
        raise SchemaError(f"{row.where}: the field '{field}' should be text, found {type(value).__name__}")
    return str(value)


def _listed(row: Row, field: str) -> list[Any]:
    """A list, or JSON text of one; empty where there is none."""
    value: Any = row.values.get(field)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise SchemaError(f"{row.where}: the field '{field}' is no JSON list") from None
    to_list = getattr(value, "tolist", None)  # Parquet gives arrays
    value = to_list() if to_list else value
    if value is None or (isinstance(value, float) and value != value):
        return []
    if not isinstance(value, list | tuple):
        raise SchemaError(f"{row.where}: the field '{field}' should be a list, found {type(value).__name__}")
    return list(value)


def _messages(row: Row) -> tuple[Message, ...]:
    found: list[Message] = []
    for turn in _listed(row, "messages"):
        texts = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if not all(isinstance(text, str) for text in texts):
            raise SchemaError(f"{row.where}: every item of 'messages' needs a 'role' and a 'content' of text")
        found.append(texts)  # type: ignore[arg-type]
    if found and found[-1][0] != "user":
        raise SchemaError(f"{row.where}: 'messages' must end with the user's turn; the response is the next one")
    return tuple(found)


def _token_ids(row: Row) -> tuple[int, ...]:
    ids = _listed(row, "token_ids")
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ids):
        raise SchemaError(f"{row.where}: 'token_ids' must be whole numbers of at least 0")
    return tuple(ids)


def _finish_reason(row: Row) -> FinishReason:
    said, known = row.optional("finish_reason") or "stop", get_args(FinishReason)
    if said not in known:
        raise SchemaError(f"{row.where}: 'finish_reason' should be one of {', '.join(known)}, found '{said}'")
    return said  # type: ignore[return-value]
