"""Rows of files that others wrote: JSONL, JSON, CSV, TSV or Parquet, plain or gzipped, whatever program made them."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hneurons.core.errors import InputError, MissingExtraError, SchemaError
from hneurons.core.foreign_text import read_foreign_text
from hneurons.core.rows import load_json

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_DELIMITERS = ",;\t|"


class ForeignRow(NamedTuple):
    """What stands at a place: cells of a table as text, a JSON value, or nothing and in words what is wrong there."""

    where: str
    value: Any
    fault: str = ""


def read_foreign_rows(path: Path) -> Iterator[ForeignRow]:
    """Each row of a file, in order.

    A table has a header and the delimiter that its header has most of; a column without a name, as data frames write
    for their index, is left out. A JSON document is a list of rows, an object
    that holds one such list, or an object of columns of one length.

    Raises `InputError` where the file is missing, of another kind, or cannot be read, `SchemaError` where it is no
    table or document of rows.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: check the path")
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"{path} is of no known kind: give a file that ends in {', '.join(SUFFIXES)}")
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        return _read_parquet(path)
    text = read_foreign_text(path)
    if kind == "jsonl":
        return _read_lines(path, text)
    return _read_document(path, text) if kind == "json" else _read_table(path, text, "\t" if kind == "tsv" else "")


def bare_name(path: Path) -> str:
    """The name of a file without what says its kind."""
    ending = max((end for end in SUFFIXES if path.name.lower().endswith(end)), key=len, default="")
    return path.name[: len(path.name) - len(ending)] if ending else path.stem


def _read_lines(path: Path, text: str) -> Iterator[ForeignRow]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, row {number}"
        try:
            yield ForeignRow(where, load_json(line))
        except ValueError as error:
            yield ForeignRow(where, None, f"is not JSON ({error}): each row should be one JSON object")


def _read_document(path: Path, text: str) -> Iterator[ForeignRow]:
    try:
        value = load_json(text)
    except ValueError as error:
        raise SchemaError(f"{path} is not JSON ({error}): give a list of rows, or JSONL") from error
    for number, row in enumerate(_rows_of(path, value), 1):
        yield ForeignRow(f"{path}, row {number}", row)


def _rows_of(path: Path, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    columns = {name: items for name, items in value.items() if isinstance(items, list)} if type(value) is dict else {}
    if len(columns) == 1 and all(isinstance(item, dict) for items in columns.values() for item in items):
        return next(iter(columns.values()))  # as BioASQ's `questions`
    if len({len(items) for items in columns.values()}) != 1:
        raise SchemaError(
            f"{path} holds no list of rows and no columns of one length: give JSONL, or a JSON list of objects"
        )
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _read_table(path: Path, text: str, delimiter: str) -> Iterator[ForeignRow]:
    delimiter = delimiter or max(_DELIMITERS, key=text.split("\n", 1)[0].count)
    limit = csv.field_size_limit(len(text) + 1)
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for number, row in enumerate(table, 1):
            where = f"{path}, row {number}"
            if row.pop(None, None):
                said = f"has more cells than the header: put quotes around cells with '{delimiter}'"
                yield ForeignRow(where, None, said)
            else:
                yield ForeignRow(where, {name.strip(): cell for name, cell in row.items() if name.strip()})
    except csv.Error as error:
        raise SchemaError(f"{path} is no table that can be read ({error}): check its quotation marks") from error
    finally:
        csv.field_size_limit(limit)


def _read_parquet(path: Path) -> Iterator[ForeignRow]:
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
        yield ForeignRow(f"{path}, row {number}", values)
