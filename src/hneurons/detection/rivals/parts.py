"""What a comparison has finished so far, so that a run that is killed goes on where it was."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hneurons.core.artifacts import RowStore
from hneurons.core.rows import from_row, to_row

T = TypeVar("T")
PARTS = "parts"


class Parts:
    """Named results of the stage in `out`, each kept the moment it is there; in memory where `out` is None."""

    def __init__(
        self, out: Path | None, *, stage: str, settings: dict[str, Any], inputs: Mapping[str, str], expected: int
    ) -> None:
        self.folder = None if out is None else out / PARTS
        self.store = RowStore(
            self.folder,
            stage=f"{stage} {PARTS}",
            settings=settings,
            inputs=dict(inputs),
            expected=expected,
            replace=True,
        )
        self.known = {row["id"]: row["value"] for row in self.store.rows}

    def get(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """The result of that name and type: what an earlier call kept, or else what `make` gives."""
        if name not in self.known:
            self.known[name] = to_row(make())
            self.store.commit([{"id": name, "value": self.known[name]}])
        return from_row(kind, self.known[name])

    def drop(self) -> None:
        """Delete what was kept, once the whole is written."""
        self.store.finish({})
        if self.folder is not None:
            shutil.rmtree(self.folder)
