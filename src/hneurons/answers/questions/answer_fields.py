"""Fields of a row that holds an answer somebody gave: its text, tokens, log-probabilities and how it ended."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from hneurons.answers.questions.rows import Row, read_rows
from hneurons.core.errors import SchemaError
from hneurons.core.types import FinishReason

_RESPONSE = ("response", "answer")


def read_answer_rows(files: Sequence[Path]) -> list[Row]:
    """All rows of files of answers, of which at least one has a response: a table leaves empty cells out.

    Raises what `read_rows` raises, and `SchemaError` where no row has a response.
    """
    rows = list(read_rows(files))
    if not any(field in row.values for row in rows for field in _RESPONSE):
        raise SchemaError(
            f"{rows[0].where}: there is no field 'response' (or 'answer'): name the column with the text so"
        )
    return rows


def read_response(row: Row) -> str:
    """The text in `response` or `answer`, letter for letter; empty where there is none."""
    field = "response" if "response" in row.values else "answer"
    value = row.values.get(field)
    if value is None or value != value:  # NaN marks an empty cell
        return ""
    if isinstance(value, bool | list | dict):
        raise SchemaError(f"{row.where}: the field '{field}' should be text, found {type(value).__name__}")
    return str(value)


def read_list(row: Row, field: str) -> list[Any]:
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


def read_token_ids(row: Row) -> tuple[int, ...]:
    """The field `token_ids`, which may be missing."""
    ids = read_list(row, "token_ids")
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ids):
        raise SchemaError(f"{row.where}: 'token_ids' must be whole numbers of at least 0")
    return tuple(ids)


def read_logprobs(row: Row, token_ids: tuple[int, ...]) -> tuple[float, ...]:
    """The field `logprobs`, which may be missing: natural logarithms, one a token where there are token ids."""
    values = read_list(row, "logprobs")
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    if not numbers or any(value > 0 for value in values):
        raise SchemaError(f"{row.where}: 'logprobs' must be natural logarithms, so numbers of at most 0")
    if values and token_ids and len(values) != len(token_ids):
        raise SchemaError(
            f"{row.where}: there are {len(values)} 'logprobs' for {len(token_ids)} 'token_ids': give one for each"
        )
    return tuple(float(value) for value in values)


def read_finish_reason(row: Row) -> FinishReason:
    """The field `finish_reason`, by default "stop"."""
    said, known = row.optional("finish_reason") or "stop", get_args(FinishReason)
    if said not in known:
        raise SchemaError(f"{row.where}: 'finish_reason' should be one of {', '.join(known)}, found '{said}'")
    return said  # type: ignore[return-value]


def read_asked(row: Row) -> str:
    """The question, behind the `context` that the model was given to read, if any."""
    context = row.optional("context")
    return f"{context}\n\n{row.text('question')}" if context else row.text("question")
