"""Replies of a sweep whose outcome changes with alpha, at three alphas side by side.

Of benchmarks whose replies may be harmful no text is shown, even where a record holds some: ids, outcomes and lengths
alone.
"""

from pathlib import Path
from typing import Any, NamedTuple

from hneurons.benchmarks.benchmark import BENCHMARKS
from hneurons.benchmarks.results import BenchmarkResult
from hneurons.core.artifacts import MANIFEST, Manifest, load_rows
from hneurons.core.files import stored_errors
from hneurons.records.record import RUN_STAGE, Record

SHOWN = 8  # items
LONGEST = 300  # characters of a reply
FLIP = 0.5  # of the outcome, between the model as it is and either end


class Flips(NamedTuple):
    """The alphas, the first items that flipped with one cell an alpha, and how many flipped and were compared."""

    alphas: list[float]
    rows: list[dict[str, Any]]
    flipped: int
    compared: int
    shows_text: bool


def find_flips(folder: Path, result: BenchmarkResult) -> Flips | None:
    """Flips of the selected neurons at the lowest alpha, the no-op and the highest; None without finished records.

    `folder` is where the benchmark's records are. Raises `ArtifactError` where they are damaged.
    """
    if not (folder / MANIFEST).is_file() or not Manifest.load(folder).complete:
        return None
    known = [at.alpha for at in result.selected.alphas]
    alphas = sorted({known[0], result.no_op, known[-1]})
    if len(alphas) < 2:
        return None
    _, rows = load_rows(folder, stage=RUN_STAGE)
    with stored_errors(folder):
        records = [Record.from_row(row) for row in rows]
    items: dict[str, dict[float, Record]] = {}
    for record in records:
        if record.condition == result.selected.name and record.alpha in alphas:
            items.setdefault(record.id, {})[record.alpha] = record
    whole = {i: found for i, found in items.items() if all(_outcome(found.get(a)) is not None for a in alphas)}
    flipped = [i for i, found in whole.items() if _flips(found, result.no_op)]
    shows_text = may_show_text(result.benchmark)
    shown = [{"id": i, "cells": [_cell(whole[i][a], shows_text) for a in alphas]} for i in flipped[:SHOWN]]
    return Flips(alphas, shown, len(flipped), len(whole), shows_text)


def may_show_text(benchmark: str) -> bool:
    """Whether replies to this benchmark may stand in a page: only where it is known to keep them."""
    return benchmark in BENCHMARKS and BENCHMARKS.get(benchmark).stores_text and "jailbreak" not in benchmark


def _outcome(record: Record | None) -> float | None:
    return None if record is None else record.outcome


def _flips(found: dict[float, Record], no_op: float) -> bool:
    base = found[no_op].outcome or 0.0
    return any(abs((record.outcome or 0.0) - base) >= FLIP for record in found.values())


def _cell(record: Record, shows_text: bool) -> dict[str, Any]:
    text = record.response if shows_text else None
    return {
        "outcome": record.outcome,
        "length": record.n_tokens,
        "cut": record.finish_reason == "length",
        "text": text if text is None or len(text) <= LONGEST else f"{text[:LONGEST]}…",
    }
