"""Rows of a question file or hub data set, and the sentences that say what is wrong with them."""

import gzip
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hneurons.answers.judges.normalize import fold
from hneurons.core.errors import EndpointError, InputError, MissingExtraError, SchemaError
from hneurons.core.registry import Registry
from hneurons.core.types import Question

logger = logging.getLogger(__name__)
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


class QuestionSource(Protocol):
    """Gives the questions of one set: from `files`, or where there are none from the hub or the package itself.

    `limit` and `seed` matter only to sets that are generated.
    """

    def __call__(self, files: Sequence[Path], *, limit: int | None, seed: int) -> Iterable[Question]: ...


QUESTIONS: Registry[QuestionSource] = Registry("question set")


@dataclass(frozen=True, slots=True)
class Row:
    """One record and where it stands, for messages."""

    where: str
    values: Mapping[str, Any]

    def text(self, field: str) -> str:
        """A field that must be a string with something in it."""
        value = self._field(field)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(field, "text", value)
        return " ".join(value.split())

    def texts(self, field: str) -> tuple[str, ...]:
        """A field that must be a string or a (nested) list of strings: the strings, without blanks and repeats."""
        value = self._field(field)
        found = list(_flatten(value))
        if not all(isinstance(text, str) for text in found) or not any(text.strip() for text in found):
            raise self._wrong(field, "one text or a list of texts", value)
        return tuple(dict.fromkeys(text.strip() for text in found if text.strip()))

    def number(self, field: str) -> int:
        value = self._field(field)
        if not isinstance(value, int):
            raise self._wrong(field, "a whole number", value)
        return int(value)

    def row(self, field: str) -> "Row":
        """A field that must be an object, as a row of its own."""
        value = self._field(field)
        if not isinstance(value, Mapping):
            raise self._wrong(field, "an object", value)
        return Row(f"{self.where}, field '{field}'", value)

    def optional(self, field: str) -> str:
        """A field that may be missing, as text; empty where it is."""
        value = self.values.get(field)
        return "" if value is None else str(value).strip()

    def _field(self, field: str) -> Any:
        if field not in self.values:
            fields = ", ".join(sorted(map(str, self.values))) or "none"
            raise SchemaError(f"{self.where}: the field '{field}' is missing; the fields found are {fields}")
        return self.values[field]

    def _wrong(self, field: str, expected: str, value: Any) -> SchemaError:
        shown = json.dumps(value, ensure_ascii=False, default=str)
        found = shown if len(shown) <= 60 else shown[:57] + "..."
        return SchemaError(f"{self.where}: the field '{field}' should be {expected}, found {found}")


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def read_rows(files: Sequence[Path]) -> Iterator[Row]:
    """All rows of local files (JSONL, JSON or Parquet, gzip or not).

    Raises `InputError` where a file is missing, empty or of another kind, `SchemaError` where a line is no JSON object.
    """
    for path in files:
        if not path.is_file():
            raise InputError(f"{path} is no file: check the path given after 'NAME:'")
        if not path.name.endswith(SUFFIXES):
            raise InputError(f"{path} is of no known kind: give a file that ends in {', '.join(SUFFIXES)}")
        empty = True
        for row in _read_parquet(path) if path.suffix == ".parquet" else _read_json(path):
            empty = False
            yield row
        if empty:
            raise InputError(f"{path} has no rows: give a file with at least one question")


def _read_json(path: Path) -> Iterator[Row]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as UTF-8 text ({error}): check that it is a whole, real file"
        ) from error
    whole = path.name.removesuffix(".gz").endswith(".json")
    lines = [(f"{path}", text)] if whole else [(f"{path}, row {n}", line) for n, line in enumerate(text.split("\n"), 1)]
    for where, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise SchemaError(f"{where} is not JSON ({error}): each row should be one JSON object") from error
        yield from _rows_of_document(path, value) if whole else (_as_row(where, value),)


def _rows_of_document(path: Path, value: Any) -> Iterator[Row]:
    """The rows of a whole JSON document: a list, or an object that holds just one (BioASQ's `questions`)."""
    lists = [value] if isinstance(value, list) else []
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
    if len(lists) != 1:
        raise SchemaError(
            f"{path} holds {len(lists)} lists of rows: give JSONL, or a JSON document with exactly one list"
        )
    for number, item in enumerate(lists[0], 1):
        yield _as_row(f"{path}, row {number}", item)


def _as_row(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise SchemaError(f"{where} is {type(value).__name__}, not an object with named fields")
    return Row(where, value)


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data", "reading a Parquet file") from error
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file that can be read: check that the download was complete") from error
    for number, values in enumerate(rows, 1):
        yield Row(f"{path}, row {number}", values)


def fetch_rows(repository: str, configuration: str, *, name: str) -> Iterator[Row]:
    """The validation rows of a data set on the Hugging Face hub, from its cache where it has them.

    Raises `EndpointError` where the hub cannot be reached: with the way round it, a local file.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "data", f"fetching '{name}' from the hub") from error
    try:
        rows = datasets.load_dataset(repository, configuration, split="validation")
    except Exception as error:  # the hub client raises errors of several packages that share no base
        raise EndpointError(
            f"'{name}' could not be fetched from the hub ({repository}): check the connection, or give a local copy "
            f"as {name}:FILE ({', '.join(SUFFIXES)})"
        ) from error
    for number, values in enumerate(rows, 1):
        yield Row(f"{repository}, row {number}", values)


def question_key(text: str) -> str:
    """What two spellings of the same question share: its words without case, diacritics and punctuation."""
    return " ".join(re.findall(r"\w+", fold(text).casefold()))


def drop_duplicates(questions: Iterable[Question], key: Callable[[Question], str]) -> list[Question]:
    """The first question of each key, in order; the number dropped is logged."""
    kept: dict[str, Question] = {}
    total = 0
    for question in questions:
        total += 1
        kept.setdefault(key(question), question)
    if total > len(kept):
        logger.info("%d of %d questions dropped: the same text came before", total - len(kept), total)
    return list(kept.values())
