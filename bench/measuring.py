"""Several ways of doing one piece of work, timed in turn in one run: what the bench scripts share.

Times are processor time, which other work on the machine disturbs less than the clock. Rates are work by second.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

Way = Callable[[], float | tuple[float, float]]
"""Does the work once. Returns how much it was, or that and its own seconds where another process did it."""


class Line(NamedTuple):
    """One line of `RESULTS.md`: a way of doing a piece of work, measured some times."""

    work: str
    way: str
    unit: str
    values: list[float]
    ratio: float  # of the median to that of the first way; more is better for rates, less for seconds


def take_turns(work: str, ways: Mapping[str, Way], *, rounds: int, unit: str, warm: bool = True) -> list[Line]:
    """Time all ways in turn, `rounds` times after a round that warms up; print and record a line each.

    `unit` is "s" for seconds, or "tokens/s" and the like for work by second.
    """
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + warm):
        for name, way in ways.items():
            start = time.process_time()
            done = way()
            amount, seconds = done if isinstance(done, tuple) else (done, time.process_time() - start)
            if turn >= warm:
                found[name].append(seconds if unit == "s" else amount / seconds)
    return record(work, found, unit)


def record(work: str, found: Mapping[str, list[float]], unit: str) -> list[Line]:
    """Print values measured in one run, and add them to the file that BENCH_OUT names."""
    first = median(next(iter(found.values())))
    lines = [Line(work, way, unit, values, median(values) / first) for way, values in found.items()]
    print(work)
    for line in lines:
        print(f"  {line.way:<48} {describe(line.values)} {line.unit}, ratio {line.ratio:.3g}", flush=True)
    if "BENCH_OUT" in os.environ:
        with open(os.environ["BENCH_OUT"], "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line._asdict()) + "\n" for line in lines)
    return lines


def describe(values: list[float]) -> str:
    """min / median / max."""
    return " / ".join(
        f"{value:.3g}" if value < 1000 else f"{value:,.0f}" for value in (min(values), median(values), max(values))
    )
