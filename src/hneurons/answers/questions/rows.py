"""Rows of a question file or hub data set, and the sentences that say what is wrong with them."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

from hneurons.answers.judges.gold import unpack
from hneurons.answers.judges.normalize import LETTER, fold
from hneurons.core.errors import EndpointError, InputError, MissingExtraError, SchemaError
from hneurons.core.foreign_rows import SUFFIXES, read_foreign_rows
from hneurons.core.registry import Registry
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Question

logger = logging.getLogger(__name__)
_KEY = re.compile(rf"\d+(?:[.,:/]\d+)*|{LETTER}+|[+*×÷=<>%#&$€£¥°^√/]|(?<!\w)[-–]|[-–](?!\w)|(?<=\d)[-–](?=\d)")
_INFINITE = float("inf")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


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
        """A field that must be a string with something in it, in whole characters."""
        value = self._field(field)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(field, "text", value)
        return " ".join(self._whole(field, value).split())

    def texts(self, field: str) -> tuple[str, ...]:
        """A field that must be a text, a number or a (nested) list of them: the texts, without blanks and repeats.

        A list stored as one text ('["a", "b"]') becomes its items. What only marks that there is no answer (`<unk>`,
        N/A) is left out, so that nothing may be left: see `demands_answers`.
        """
        value = self._field(field)
        found = [_as_text(item) for item in _flatten(value)]
        if not all(isinstance(text, str) for text in found) or not any(text.strip() for text in found):
            raise self._wrong(field, "one text or a list of texts", value)
        return unpack(self._whole(field, text) for text in found)

    def number(self, field: str) -> int:
        value = self._field(field)
        if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,18}\s*", value):
            return int(value)
        if not isinstance(value, int):
            raise self._wrong(field, "a whole number", value)
        return int(value)

    def flag(self, field: str, *, default: bool) -> bool:
        """A field that may be missing and must otherwise be true or false, also as a word or as 0 and 1."""
        value = self.values.get(field)
        word = str(value).strip().casefold()
        if value is None or word in ("true", "yes", "1", "1.0"):
            return default if value is None else True
        if word in ("false", "no", "0", "0.0"):
            return False
        raise self._wrong(field, "true or false", value)

    def row(self, field: str) -> "Row":
        """A field that must be an object, as a row of its own."""
        value = self._field(field)
        if not isinstance(value, Mapping):
            raise self._wrong(field, "an object", value)
        return Row(f"{self.where}, field '{field}'", value)

    def optional(self, field: str) -> str:
        """A field that may be missing, as text; empty where it is."""
        value = self.values.get(field)
        return "" if value is None else self._whole(field, str(value).strip())

    def _whole(self, field: str, text: str) -> str:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise SchemaError(
                f"{self.where}: the field '{field}' holds half a character (a lone surrogate): write the file as UTF-8"
            )
        return text

    def _field(self, field: str) -> Any:
        if field not in self.values:
            fields = ", ".join(sorted(map(str, self.values))) or "none"
            raise SchemaError(f"{self.where}: the field '{field}' is missing; the fields found are {fields}")
        return self.values[field]

    def _wrong(self, field: str, expected: str, value: Any) -> SchemaError:
        shown = json.dumps(value, ensure_ascii=False, default=str)
        found = shown if len(shown) <= 60 else shown[:57] + "..."
        return SchemaError(f"{self.where}: the field '{field}' should be {expected}, found {found}")


def _as_text(value: Any) -> Any:
    """A number as it is written; anything else as it is."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value
        or value in (_INFINITE, -_INFINITE)
    ):
        return value
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else str(value)


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def read_rows(files: Sequence[Path]) -> Iterator[Row]:
    """All rows of local files (JSONL, JSON, CSV, TSV or Parquet, gzip or not). Empty cells of a table are left out.

    Raises `InputError` where a file is missing, empty or of another kind, `SchemaError` where a row is no object.
    """
    for path in files:
        empty = True
        table = path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv"))
        for where, value, fault in read_foreign_rows(path):
            empty = False
            if fault:
                raise SchemaError(f"{where} {fault}")
            if not isinstance(value, dict):
                raise SchemaError(f"{where} is {type(value).__name__}, not an object with named fields")
            filled = {name: cell for name, cell in value.items() if cell and cell.strip()} if table else value
            yield Row(where, filled)
        if empty:
            raise InputError(f"{path} has no rows: give a file with at least one question")


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
    """What two spellings of the same question share: its words and signs without case, accents and punctuation.

    Nothing that tells two questions apart is dropped: signs of arithmetic, currencies, decimal points, vowel signs.
    """
    plain = _THOUSANDS.sub("", fold(text).casefold()).replace("–", "-")
    return " ".join(_KEY.findall(plain))


def question_marks(question: Question) -> frozenset[str]:
    """What a detector keeps of a question that it was fitted on: 16 hex digits of its text's key and of its group."""
    return frozenset((fingerprint(question_key(question.text)), fingerprint(question.group)))


def demands_answers(source: QuestionSource) -> QuestionSource:
    """A question set without the answerable questions whose answers are only marks of none; their number is logged.

    Raises `SchemaError` where no question has an answer, as in test splits whose answers are secret.
    """

    @wraps(source)
    def answered(files: Sequence[Path], *, limit: int | None, seed: int) -> Iterator[Question]:
        kept = hidden = 0
        for question in source(files, limit=limit, seed=seed):
            if question.answers or not question.answerable:
                kept += 1
                yield question
            else:
                hidden += 1
        if hidden and not kept:
            raise SchemaError(
                f"none of the {hidden} questions has an answer, only marks that there is none (<unk>, N/A): "
                "use a split whose answers are public"
            )
        if hidden:
            logger.info("%d of %d questions dropped: their answers only mark that there is none", hidden, kept + hidden)

    return answered


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
