"""One progress bar per stage, on standard error: done, total, rate, time left.

A terminal shows a bar that fits 80 columns. Elsewhere, as in a log file, a line is written once a minute.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_enabled = False
_BAR = 10  # characters
_EVERY = 60.0  # seconds between the lines of a log file


def enable_progress(on: bool = True) -> None:
    """Draw bars from now on; off by default, so that the library is silent. The command line turns them on."""
    global _enabled
    _enabled = on


def describe_pace(done: float, total: int, rate: float) -> str:
    """How far, how fast and how long still: 340/2,000, 12.3/s, 2:15 left. `rate` is in items a second."""
    said = f"{int(done):,}/{total:,}"
    if rate <= 0:
        return said
    pace = f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
    return f"{said}, {pace}, {_clock((total - done) / rate)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


@contextmanager
def progress(description: str, total: int, *, done: int = 0) -> Iterator[Callable[..., None]]:
    """Yield `advance(n=1, note="")`. `done` is where a resumed stage starts; the rate counts only new work.

    `n` may be a part of an item.
    """
    if not _enabled:
        yield lambda n=1, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(stderr=True)
    left = max(console.width - len(description) - _BAR - 2, 1)
    columns = (
        TextColumn("{task.description}", table_column=Column(width=len(description), no_wrap=True)),
        BarColumn(bar_width=_BAR, table_column=Column(width=_BAR)),
        TextColumn("{task.fields[pace]}  [dim]{task.fields[note]}", table_column=Column(width=left, no_wrap=True)),
    )
    start = told = time.monotonic()
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(description, total=total, completed=done, pace=describe_pace(done, total, 0), note="")

        def advance(n: float = 1, note: str = "") -> None:
            nonlocal told
            bars.advance(task, n)
            state, now = bars.tasks[0], time.monotonic()
            pace = describe_pace(state.completed, total, (state.completed - done) / max(now - start, 1e-9))
            bars.update(task, pace=pace, note=note or state.fields["note"])
            if not (console.is_terminal or console.is_jupyter) and now - told > _EVERY:
                told = now
                console.print(f"{description} {pace}", highlight=False)

        yield advance
