"""Reading a recorded run for an audit: bad rows are named and counted, the rest is audited."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hneurons.core.artifacts import RowStore, load_rows
from hneurons.core.errors import InputError
from hneurons.core.files import stored_errors
from hneurons.core.rows import from_row
from hneurons.records.record import RUN_STAGE, Condition, Record, RunSettings
from hneurons.records.rows import ROW_KINDS, FieldError, Row, read_row

_KEPT_PROBLEMS = 50
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that could not be used: its number in the source (from 1), the column, and why."""

    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, column '{self.column}': {self.reason}"


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run: its settings, the rows that could be read, and the problems with the others.

    `known_error` is a sentence about how often the judge of its answers is wrong; empty where no judge is known.
    """

    name: str
    settings: RunSettings
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()
    n_problems: int = 0
    source: str = ""
    known_error: str = ""

    def of(self, kind: type[T]) -> list[T]:
        return [row for row in self.rows if isinstance(row, kind)]

    @property
    def records(self) -> list[Record]:
        return self.of(Record)

    def condition(self, name: str) -> Condition:
        """The condition as declared; undeclared, its kind is taken from its name ("random...")."""
        declared = self.settings.conditions.get(name)
        return declared or Condition("random" if "random" in name else "selected")

    @property
    def conditions(self) -> dict[str, Condition]:
        return {name: self.condition(name) for name in dict.fromkeys(record.condition for record in self.records)}

    def selected(self) -> list[str]:
        return [name for name, condition in self.conditions.items() if not condition.is_control]

    def controls_of(self, name: str) -> list[str]:
        family = self.condition(name).family
        return [other for other, c in self.conditions.items() if c.is_control and c.family == family]


def read_rows(rows: Iterable[dict[str, Any]], kind: str) -> tuple[list[Row], list[Problem]]:
    """Read rows one by one. A cell (condition, id, alpha) given twice keeps its first row and names the second."""
    if kind not in ROW_KINDS:
        raise InputError(f"unknown kind of rows '{kind}': known are {', '.join(sorted(ROW_KINDS))}")
    good: list[Row] = []
    problems: list[Problem] = []
    seen: dict[tuple[Any, ...], int] = {}
    for number, row in enumerate(rows, 1):
        try:
            read = read_row(ROW_KINDS[kind], row)
        except FieldError as error:
            problems.append(Problem(number, error.column, error.reason))
            continue
        cell = read.cell if isinstance(read, Record) else None
        if cell is not None and cell in seen:
            problems.append(Problem(number, "id", f"'{read.id}' at alpha {read.alpha} repeats row {seen[cell]}"))  # type: ignore[union-attr]
            continue
        if cell is not None:
            seen[cell] = number
        good.append(read)
    return good, problems


def make_run(name: str, settings: RunSettings, rows: Iterable[dict[str, Any]], *, source: str = "") -> Run:
    """A run in memory, from rows in our format."""
    good, problems = read_rows(rows, settings.kind)
    return Run(name, settings, tuple(good), tuple(problems[:_KEPT_PROBLEMS]), len(problems), source)


def save_run(run: Run, out: Path) -> None:
    """Write a run as a folder that `load_run` reads."""
    inputs = {"source": run.source} if run.source else {}
    store = RowStore(out, stage=RUN_STAGE, settings=run.settings.to_row(), inputs=inputs, expected=1)
    if not store.done:
        store.commit([_plain_row(row) for row in run.rows])
    problems = [{"row": p.row, "column": p.column, "reason": p.reason} for p in run.problems]
    store.finish({"rows": len(run.rows), "n_problems": run.n_problems, "problems": problems})


def _plain_row(row: Row) -> dict[str, Any]:
    if isinstance(row, Record):
        return row.to_row()
    return {name: value for name in row.__slots__ if (value := getattr(row, name)) is not None}


def load_run(folder: Path) -> Run:
    """Read a run folder. Raises `InputError` where it is none, `ArtifactError` where it is unfinished or changed."""
    manifest, rows = load_rows(folder, stage=RUN_STAGE)
    try:
        settings = RunSettings.from_row(manifest.settings)
    except ValueError as error:
        raise InputError(f"{folder} has settings that are no run's ({error}): import the records again") from error
    run = make_run(folder.name, settings, rows, source=str(folder))
    with stored_errors(folder):
        earlier = from_row(tuple[Problem, ...], manifest.summary.get("problems", []))
        count = run.n_problems + from_row(int, manifest.summary.get("n_problems", 0))
        said = from_row(str, manifest.summary.get("known_error", ""))
    if not said and manifest.summary.get("judge") == "alias":
        said = "The error of the judge 'alias' was not recorded with this run."
    return replace(run, problems=earlier + run.problems, n_problems=count, known_error=said)


def outcome_runs(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.records]


def rows_of(runs: Sequence[Run], kind: type[T]) -> Iterator[tuple[Run, list[T]]]:
    """The runs that have rows of this kind, with these rows."""
    for run in runs:
        if rows := run.of(kind):
            yield run, rows
