"""Turn foreign records (CSV, JSONL, columnar JSON; gzip or not) into a run, by a small mapping of columns."""

import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self

import regex  # type: ignore[import-untyped]

from hneurons.core.errors import InputError
from hneurons.core.files import file_hash
from hneurons.core.foreign_rows import read_foreign_rows
from hneurons.core.foreign_text import read_foreign_text
from hneurons.core.rows import from_row, load_json
from hneurons.records.record import Condition, RunSettings
from hneurons.records.recorded_run import Run, make_run
from hneurons.records.scores import multiple_choice_scores

_log = logging.getLogger(__name__)
_TEMPLATE = re.compile(r"\{([^{}]*)\}")
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
    columns: dict[str, str | dict[str, str]] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    melt: dict[str, Any] = field(default_factory=dict)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    extract: dict[str, tuple[str, str]] = field(default_factory=dict)
    where: dict[str, tuple[str | int | float, ...]] = field(default_factory=dict)
    join: str = ""
    conditions: dict[str, str] = field(default_factory=dict)
    outcome_from: str = ""

    def __post_init__(self) -> None:
        if self.outcome_from not in ("", *_SCORES):
            raise InputError(f"outcome_from is '{self.outcome_from}', known are {', '.join(_SCORES)}")
        for ours, (_, pattern) in self.extract.items():
            try:
                groups = regex.compile(pattern).groups
            except regex.error as error:
                raise InputError(f"the pattern of '{ours}' is no regular expression ({error}): mend it") from error
            if not groups:
                raise InputError(f"the pattern of '{ours}' has no group: put brackets around what is to be taken")
        if self.melt:
            try:
                from_row(Melt, self.melt)
            except ValueError as error:
                raise InputError(f"the entry 'melt' does not fit: {error}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a mapping file. Raises `InputError` naming what is wrong in it."""
        known = {f.name for f in fields(cls)}
        try:
            row = load_json(read_foreign_text(path))
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error})") from error
        if not isinstance(row, dict) or (unknown := set(row) - known) or "settings" not in row:
            wrong = f"unknown entries {sorted(unknown)}" if isinstance(row, dict) and unknown else "no 'settings'"
            raise InputError(f"{path} is no column mapping ({wrong}): it takes {', '.join(sorted(known))}")
        try:
            return from_row(cls, row)
        except (ValueError, InputError) as error:
            raise InputError(f"{path}: {error}") from error

    def needed_columns(self) -> set[str]:
        """The columns without which no row can be mapped."""
        names = {name for theirs in self._plain_columns() for name in _TEMPLATE.findall(theirs)}
        return names | {column for column, _ in self.extract.values()} | self.where.keys() | ({self.join} - {""})

    def optional_columns(self) -> set[str]:
        """The columns that are taken over where they are."""
        return {theirs for theirs in self._plain_columns() if not _TEMPLATE.search(theirs)}

    def _plain_columns(self) -> list[str]:
        return [
            v for theirs in self.columns.values() for v in (theirs.values() if isinstance(theirs, dict) else [theirs])
        ]


@dataclass(frozen=True, slots=True)
class Melt:
    """What the entry `melt` holds; see `Mapping`."""

    columns: dict[str, Any]
    into: tuple[str, str]
    absent: Any = None


def import_run(source: Path, mapping: Mapping, *, items: Path | None = None, name: str = "") -> Run:
    """Read foreign records. A row that cannot be read becomes a problem of the run, naming row and column.

    `items` is a second file whose columns are added to the rows with the same `mapping.join` value.

    A column that is only taken over and that no row has is warned of. Raises `InputError`:

    - for files that cannot be read;
    - for a mapping that does not fit them;
    - where a template, pattern or filter names a column that no row has.
    """
    extra = _items_by_key(items, mapping.join) if items else {}
    rows, seen, kept = [], set[str](), {column: set(map(str, words)) for column, words in mapping.where.items()}
    for row in read_source(source):
        row = {**extra.get(str(row.get(mapping.join)), {}), **row} if extra else row
        seen.update(row)
        if all(str(row.get(column)) in words for column, words in kept.items()):
            rows.extend(_map_row(row, mapping))
    if seen:
        found = ", ".join(sorted(map(str, seen))[:20])
        if absent := sorted(mapping.needed_columns() - seen):
            raise InputError(f"the mapping names the column '{absent[0]}', but the columns of {source} are {found}")
        if absent := sorted(mapping.optional_columns() - seen):
            _log.warning("%s has no column %s: what the mapping takes from there is missing", source, ", ".join(absent))
    names = dict.fromkeys(str(row["condition"]) for row in rows if row.get("condition") is not None)
    try:
        conditions = {name: condition.to_row() for name, condition in _conditions(names, mapping.conditions).items()}
        settings = RunSettings.from_row({**mapping.settings, "conditions": conditions})
        if "conditions" in mapping.settings or not math.isfinite(settings.no_op):
            raise ValueError("'conditions' stands outside of the settings, and 'no_op' is a number")
    except ValueError as error:
        raise InputError(f"the mapping's settings do not fit ({error})") from error
    return make_run(name or source.name.split(".")[0], settings, rows, source=file_hash(source))


def _items_by_key(items: Path, join: str) -> dict[str, dict[str, Any]]:
    if not join:
        raise InputError(f"the columns of {items} cannot be added: the mapping has no 'join', the column they share")
    found: dict[str, dict[str, Any]] = {}
    for row in read_source(items):
        if join not in row:
            raise InputError(f"{items} has no column '{join}', by which the mapping joins it")
        if found.setdefault(str(row[join]), row) != row:
            raise InputError(f"{items} says different things about '{row[join]}': keep one row of it")
    return found


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
    for ours, (column, pattern) in mapping.extract.items():
        try:
            match = regex.search(pattern, str(row.get(column)), timeout=1)
        except TimeoutError as error:
            raise InputError(f"the pattern of '{ours}' takes too long on a cell of '{column}': simplify it") from error
        mapped[ours] = match.group(1) if match else None
    melted = [mapped]
    if mapping.melt:
        melt = from_row(Melt, mapping.melt)
        melted = [
            {**mapped, melt.into[0]: value, melt.into[1]: row.get(column)}
            for column, value in melt.columns.items()
            if melt.absent is None or row.get(column) != melt.absent
        ]
    for out in melted:
        for ours, words in mapping.values.items():
            out[ours] = words.get(str(out.get(ours)), out.get(ours))
        try:
            _score(out, mapping.outcome_from)
        except (ValueError, TypeError, OverflowError):
            continue  # what cannot be scored stays so, and the field is named when the row is read
    return melted


def _column(row: dict[str, Any], theirs: str) -> Any:
    """A cell, or a template with cells in it. Names only: nothing of a value can be reached but its text."""
    if not _TEMPLATE.search(theirs):
        return row.get(theirs)
    return _TEMPLATE.sub(lambda name: "" if row.get(name[1]) is None else str(row.get(name[1])), theirs)


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
    """Rows of a file of any kind of `read_foreign_rows`, and for what is no row one without columns.

    So it is named by its number, and is not fatal. Raises `InputError` where the file cannot be read.
    """
    for row in read_foreign_rows(path):
        yield row.value if isinstance(row.value, dict) else {}
