"""Turn foreign records (CSV, JSONL, columnar JSON; gzip or not) into a run, by a small mapping of columns."""

import csv
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any, Self

from hneurons.core.artifacts import file_hash
from hneurons.core.errors import InputError
from hneurons.records.record import Condition, RunSettings
from hneurons.records.recorded_run import Run, make_run
from hneurons.records.scores import multiple_choice_scores

_SCORES = ("choice_is_key", "mc1", "mc2", "grade_is_correct")


@dataclass(frozen=True, slots=True)
class Mapping:
    """How foreign columns become ours.

    - `columns`: our field -> their column, or a template such as "{family}-k{k}" over their columns. Fields of the
      same name need no entry. `rubric` takes a mapping of its own.
    - `constants`: our field -> a fixed value.
    - `melt`: turns one row with a column for each alpha into one row for each alpha. Its "columns" map their column to
      the value, "into" names our field of that value and of the cell, and "absent" is the cell that means "not run".
    - `values`: our field -> {their word: ours}.
    - `extract`: our field -> [their column, regular expression whose group 1 is taken].
    - `where`: their column -> the values kept.
    - `join`: the column that the `items` file shares.
    - `conditions`: a pattern of names -> "kind" or "kind@family".
    - `outcome_from`: choice_is_key, mc1, mc2 or grade_is_correct.
    """

    settings: dict[str, Any]
    columns: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    melt: dict[str, Any] = field(default_factory=dict)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    extract: dict[str, list[str]] = field(default_factory=dict)
    where: dict[str, list[str]] = field(default_factory=dict)
    join: str = ""
    conditions: dict[str, str] = field(default_factory=dict)
    outcome_from: str = ""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a mapping file. Raises `InputError` naming what is wrong in it."""
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"there is no mapping file {path}") from error
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error})") from error
        known = {f.name for f in fields(cls)}
        if not isinstance(row, dict) or (unknown := set(row) - known) or "settings" not in row:
            wrong = f"unknown entries {sorted(unknown)}" if isinstance(row, dict) and unknown else "no 'settings'"
            raise InputError(f"{path} is no column mapping ({wrong}): it takes {', '.join(sorted(known))}")
        if row.get("outcome_from", "") not in ("", *_SCORES):
            raise InputError(f"{path}: outcome_from is '{row['outcome_from']}', known are {', '.join(_SCORES)}")
        return cls(**row)


def import_run(source: Path, mapping: Mapping, *, items: Path | None = None, name: str = "") -> Run:
    """Read foreign records. A row that cannot be read becomes a problem of the run, naming row and column.

    `items` is a second file whose columns are added to the rows with the same `mapping.join` value.
    """
    extra = {str(row.get(mapping.join)): row for row in read_source(items)} if items else {}
    rows = []
    for row in read_source(source):
        row = {**extra.get(str(row.get(mapping.join)), {}), **row} if extra else row
        if all(str(row.get(column)) in kept for column, kept in mapping.where.items()):
            rows.extend(_map_row(row, mapping))
    names = dict.fromkeys(str(row["condition"]) for row in rows if row.get("condition") is not None)
    try:
        settings = RunSettings(**mapping.settings, conditions=_conditions(names, mapping.conditions))
    except TypeError as error:
        raise InputError(f"the mapping's settings do not fit ({error})") from error
    return make_run(name or source.name.split(".")[0], settings, rows, source=file_hash(source))


def _conditions(names: dict[str, None], patterns: dict[str, str]) -> dict[str, Condition]:
    found = {}
    for name in names:
        spec = next((value for pattern, value in patterns.items() if fnmatch(name, pattern)), None)
        if spec is not None:
            kind, _, family = spec.partition("@")
            found[name] = Condition(kind, family)
    return found


def _map_row(row: dict[str, Any], mapping: Mapping) -> list[dict[str, Any]]:
    mapped = {**row, **mapping.constants}
    for ours, theirs in mapping.columns.items():
        mapped[ours] = {k: row.get(v) for k, v in theirs.items()} if isinstance(theirs, dict) else _column(row, theirs)
    for ours, (theirs, pattern) in mapping.extract.items():
        match = re.search(pattern, str(row.get(theirs)))
        mapped[ours] = match.group(1) if match else None
    melted = [mapped]
    if mapping.melt:
        header, cell = mapping.melt["into"]
        absent = mapping.melt.get("absent")
        melted = [
            {**mapped, header: value, cell: row.get(column)}
            for column, value in mapping.melt["columns"].items()
            if absent is None or row.get(column) != absent
        ]
    for out in melted:
        for ours, words in mapping.values.items():
            out[ours] = words.get(str(out.get(ours)), out.get(ours))
        _score(out, mapping.outcome_from)
    return melted


def _column(row: dict[str, Any], theirs: str) -> Any:
    if "{" not in theirs:
        return row.get(theirs)
    return theirs.format_map({key: value if value is not None else "" for key, value in row.items()})


def _score(row: dict[str, Any], rule: str) -> None:
    """Set the outcome by a rule. A row the rule cannot score is left as it is and stays unscored or is named later."""
    if rule == "choice_is_key" and row.get("key"):
        row["choice"] = row.get("choice") or ""
        row["outcome"] = float(row["choice"] == row["key"])
    elif rule == "grade_is_correct" and row.get("grade"):
        row["outcome"] = float(row["grade"] == "CORRECT")
    elif rule in ("mc1", "mc2") and isinstance(row.get("loglik"), list) and row.get("true_options"):
        truth = [int(mark) for mark in row["true_options"]]
        if len(truth) == len(row["loglik"]):
            scores = multiple_choice_scores(row["loglik"], truth)
            row["outcome"] = scores.mc1 if rule == "mc1" else scores.mc2


def read_source(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a .csv, .jsonl or .json file, gzip or not. Raises `InputError` where it is none of these."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    suffixes = [s for s in path.suffixes if s != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    try:
        with _open(path) as file:
            if kind == ".csv":
                yield from csv.DictReader(file)
            elif kind == ".jsonl":
                yield from (_json_line(line) for line in file if line.strip())
            elif kind == ".json":
                yield from _columnar(json.load(file))
            else:
                raise InputError(f"{path} must end in .csv, .jsonl or .json (or these with .gz)")
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error})") from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return open(path, encoding="utf-8", newline="")


def _json_line(line: str) -> dict[str, Any]:
    """A line that is no object becomes a row without fields, so that it is named with its number, not fatal."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _columnar(value: Any) -> Iterator[dict[str, Any]]:
    """A list of objects, or an object whose list-valued entries are columns of equal length."""
    if isinstance(value, list):
        yield from value
        return
    columns = {key: column for key, column in value.items() if isinstance(column, list)}
    for cells in zip(*columns.values(), strict=True):
        yield dict(zip(columns, cells, strict=True))
