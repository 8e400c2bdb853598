"""Records of a file a user gives: JSONL, JSON, CSV, TSV or Parquet, plain or gzipped, whatever wrote it."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hneurons.core.errors import InputError, MissingExtraError, SchemaError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
MAX_BYTES = 1 << 30
"""A file that unpacks to more is refused, as gzip can make a thousandfold of a few bytes."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = ",;\t|"


def read_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Each record of a file and where it stands, for messages.

    Raises `InputError` where the file is missing, of another kind, or cannot be read, `SchemaError` where a line is no
    record.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file: check the path given after 'NAME:'")
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path} is of no known kind: give a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    text = _read_text(path)
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    return _read_table(path, text, "\t" if kind == "tsv" else "") if kind in ("csv", "tsv") else _read_json(path, text)


def _read_text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"{path} holds more than {MAX_BYTES >> 30} GiB of text: split it into smaller files")
        coding = next((coding for mark, coding in _MARKS if data.startswith(mark)), "utf-8")
        return data.decode(coding)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as UTF-8 text ({error}): check that it is a whole, real file"
        ) from error


def _read_json(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    whole = path.name.removesuffix(".gz").endswith(".json")
    lines = [(f"{path}", text)] if whole else [(f"{path}, row {n}", line) for n, line in enumerate(text.split("\n"), 1)]
    for where, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise SchemaError(f"{where} is not JSON ({error}): each row should be one JSON object") from error
        except RecursionError as error:
            raise SchemaError(f"{where} is nested too deeply: each row should be one flat JSON object") from error
        yield from _rows_of_document(path, value) if whole else ((where, value),)


def _rows_of_document(path: Path, value: Any) -> Iterator[tuple[str, Any]]:
    """The rows of a whole JSON document: a list, or an object that holds just one (BioASQ's `questions`)."""
    lists = [value] if isinstance(value, list) else []
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
    if len(lists) != 1:
        raise SchemaError(
            f"{path} holds {len(lists)} lists of rows: give JSONL, or a JSON document with exactly one list"
        )
    for number, item in enumerate(lists[0], 1):
        yield f"{path}, row {number}", item


def _read_table(path: Path, text: str, delimiter: str) -> Iterator[tuple[str, Any]]:
    """The rows of a table with a header; empty cells are left out. The delimiter is the one the header has most of."""
    header = text.split("\n", 1)[0]
    delimiter = delimiter or max(_DELIMITERS, key=header.count)
    limit = csv.field_size_limit(len(text) + 1)
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", strict=True)
        for number, row in enumerate(table, 1):
            where = f"{path}, row {number}"
            if row.pop("", None):
                raise SchemaError(f"{where} has more cells than the header: put quotes around cells with '{delimiter}'")
            yield where, {name.strip(): cell for name, cell in row.items() if cell is not None and cell.strip()}
    except csv.Error as error:
        raise SchemaError(f"{path} is no table that can be read ({error}): check its quotation marks") from error
    finally:
        csv.field_size_limit(limit)


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
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
        yield f"{path}, row {number}", values
