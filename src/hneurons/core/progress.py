"""One progress bar per stage, on standard error: done, total, rate, time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_enabled = False


def enable_progress(on: bool = True) -> None:
    """Draw bars from now on; off by default, so that the library is silent. The command line turns them on."""
    global _enabled
    _enabled = on


@contextmanager
def progress(description: str, total: int, *, done: int = 0, unit: str = "items") -> Iterator[Callable[..., None]]:
    """Yield `advance(n=1, note="")`. `done` is where a resumed stage starts; the rate counts only new work."""
    if not _enabled:
        yield lambda n=1, note="": None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total, completed=done, rate="", note="")

        def advance(n: int = 1, note: str = "") -> None:
            bars.advance(task, n)
            state = bars.tasks[0]
            if state.elapsed:
                rate = (state.completed - done) / state.elapsed
                text = f"{rate:.1f} {unit}/s" if rate >= 1 or rate == 0 else f"{60 * rate:.1f} {unit}/min"
                bars.update(task, rate=text, note=note or state.fields["note"])

        yield advance
