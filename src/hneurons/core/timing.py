"""What a stage's work took: wall time by kind of work, kept beside the results and no part of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hneurons.core.files import read_checked, write_checked
from hneurons.core.rows import Row

TIMING = "timing.json"


@dataclass(frozen=True, slots=True)
class Spent(Row):
    """Wall seconds and forward passes that so many items took; a part of an item counts as such."""

    seconds: float = 0.0
    items: float = 0.0
    passes: float = 0.0

    @property
    def milliseconds(self) -> float:
        """Of one item; NaN where none was done."""
        return 1000 * self.seconds / self.items if self.items else float("nan")


class Clock:
    """Adds up what each kind of work took over all calls of a stage; `save` keeps it in `timing.json` of its folder.

    A stage that begins anew (`done` is 0) forgets what an earlier one took. The file is no part of what a manifest
    vouches for: two runs with the same results take different times.
    """

    def __init__(self, folder: Path | None, *, done: int) -> None:
        self.folder, self.spent = folder, read_timing(folder) if done and folder else {}

    @contextmanager
    def time(self, work: str, items: float = 0.0, *, passes: float = 0.0) -> Iterator[None]:
        """Count what is done inside. Work that raises is not counted."""
        start = time.perf_counter()
        yield
        self.add(work, time.perf_counter() - start, items, passes)

    def add(self, work: str, seconds: float, items: float, passes: float) -> None:
        """Count so much more."""
        known = self.spent.get(work, Spent())
        self.spent[work] = Spent(known.seconds + seconds, known.items + items, known.passes + passes)

    def save(self) -> None:
        """Write what was counted so far, where there is a folder. Raises `StorageError`."""
        if self.folder is not None:
            write_checked(self.folder / TIMING, {name: spent.to_row() for name, spent in self.spent.items()})


def read_timing(folder: Path) -> dict[str, Spent]:
    """What the work of a stage took, by kind; nothing where it was not timed, or its file is damaged."""
    try:
        return {name: Spent.from_row(row) for name, row in read_checked(folder / TIMING).items()}
    except (OSError, ValueError):
        return {}
