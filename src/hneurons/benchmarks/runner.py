"""Run a benchmark: items x interventions x alphas in shared batches, resumable, every reply kept with its grade."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.benchmarks.asking import Cell, Job
from hneurons.benchmarks.benchmark import Benchmark, Item
from hneurons.core.artifacts import Manifest, RowStore
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.progress import progress
from hneurons.core.rows import from_row
from hneurons.core.seeds import fingerprint
from hneurons.models.endpoint import Endpoint
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.records.record import RUN_STAGE, Condition, Record, RunSettings

if TYPE_CHECKING:
    from hneurons.interventions.gate import RiskAbove
    from hneurons.interventions.intervention import Intervention, Scope
    from hneurons.models.language_model import LanguageModel

NO_OP = 1.0
SELECTED = "h_neurons"
_CELLS = 256
"""Generations that are committed together, so that finished batches are full; fixed, as batches decide rounding."""


class BenchmarkRun(NamedTuple):
    """A recorded run: its settings, who graded, the records, item by item, and what is known of the judge's errors."""

    settings: RunSettings
    judge: str
    records: list[Record]
    known_error: str = ""


def run_benchmark(
    model: "LanguageModel",
    name: str,
    benchmark: Benchmark,
    items: Sequence[Item],
    sets: "Mapping[str, NeuronSet | Intervention]",
    *,
    alphas: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
    scope: "Scope" = "all",
    when: "RiskAbove | None" = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    split: str = "",
    endpoint: Endpoint | None = None,
    max_rows: int = 128,
    out: Path | None = None,
) -> BenchmarkRun:
    """Ask every item under every (condition, alpha) and grade the replies (arXiv 2512.01797, section 3).

    `sets` are named neuron sets, which are scaled at `scope` and while `when` says so, or interventions, which say so
    themselves. Controls are those that `draw_control` made. The alpha that changes nothing (1 where alpha multiplies)
    is run once, whether asked for or not, and recorded under every condition. Items are committed in chunks, so that
    the same call resumes. Ctrl-C and a lost endpoint keep every finished reply; a killed process loses those of its
    chunk. Prompts are run under the same intervention as the reply where its scope is "all"; with a
    gate they are run as they are. What is drawn for an item depends on the seed and the item, not on the condition, so
    conditions are paired.

    Raises:

    - `InputError` for no or senseless alphas, an empty set, and neurons of another model.
    - `InputError` for interventions that cannot share a run, and for texts to be scored under a gate.
    - `NotEnoughDataError` without items.
    - `PromptTooLongError`, `EndpointError`, `StorageError`.
    """
    if not items:
        raise NotEnoughDataError("there are no items to ask: give a benchmark file that is not empty")
    interventions = _read_interventions(model, sets, scope, when)
    first = next(iter(interventions.values()))
    no_op, when = first.no_op, first.when
    alphas = _check_alphas(alphas, no_op)
    if when is not None and benchmark.scores_text:
        raise InputError(f"'{name}' scores texts whole, and the running risk is known token by token: leave it out")
    tokens = max_new_tokens or benchmark.max_new_tokens
    settings = RunSettings(
        benchmark=name,
        outcome=benchmark.outcome,
        no_op=no_op,
        scaling="multiplicative" if no_op else "additive",
        conditions={label: Condition(one.kind) for label, one in interventions.items()},
        max_tokens=tokens,
        split=split,
    )
    cells = [Cell(None, no_op), *(Cell(label, alpha) for label in sets for alpha in alphas if alpha != no_op)]
    size = max(1, _CELLS // len(cells))
    chunks = [items[first : first + size] for first in range(0, len(items), size)]
    judge = benchmark.judge_name(endpoint)
    inputs = {
        "model": f"{model.name} {fingerprint(replace(model.identity, name='').to_row())}",
        "items": fingerprint([asdict(item) for item in items]),
        "neurons": fingerprint({label: one.identity() for label, one in interventions.items()}),
        "alphas": ", ".join(f"{alpha:g}" for alpha in alphas),
        "scope": _describe_scopes(interventions),
        "judge": judge,
        "version": str(benchmark.version),
        **benchmark.judge_inputs(endpoint),
        "seed": str(seed),
        **({} if when is None else {"when": when.describe()}),
        **model.dtype_setting,
    }
    store = RowStore(out, stage=RUN_STAGE, settings=settings.to_row(), inputs=inputs, expected=len(chunks))
    if not store.complete:
        chosen = [first.at(no_op), *(interventions[cell.condition].at(cell.alpha) for cell in cells if cell.condition)]
        job = Job(model, name, benchmark, cells, chosen, tokens, seed, max_rows)
        job.check(items, tokens)
        job.recall(store.pending)
        with progress(name, len(items), done=min(store.done * size, len(items))) as advance:
            for chunk in chunks[store.done :]:
                try:
                    graded = job.run(chunk, endpoint, advance)
                except BaseException:  # Ctrl-C, or a judge's endpoint that was lost
                    store.put_aside(job.finished())
                    raise
                store.commit([record.to_row() for record in _spread(graded, cells, sets)])
        records = [Record.from_row(row) for row in store.rows]
        said = {"judge": judge, "known_error": benchmark.known_error(endpoint)}
        store.finish({"items": len(items), **said, **count_records(records)})
    return read_benchmark_run(store.manifest, store.rows)


def read_benchmark_run(manifest: Manifest, rows: Sequence[dict[str, Any]]) -> BenchmarkRun:
    """What a finished run's manifest and rows say. Raises `ValueError` or `KeyError` where they are no run's."""
    records = [Record.from_row(row) for row in rows]
    error = from_row(str, manifest.summary.get("known_error", ""))
    return BenchmarkRun(RunSettings.from_row(manifest.settings), manifest.summary["judge"], records, error)


def count_records(records: Sequence[Record]) -> dict[str, int]:
    """How many replies there are, how many without outcome, how many cut off by the token limit."""
    return {
        "records": len(records),
        "unscored": sum(record.outcome is None for record in records),
        "truncated": sum(record.finish_reason == "length" for record in records),
    }


def _check_alphas(alphas: Sequence[float], no_op: float) -> tuple[float, ...]:
    import math

    if not alphas or not all(math.isfinite(alpha) for alpha in alphas):
        raise InputError(f"alphas should be finite numbers such as 0, 0.5, 1, 2; found {list(alphas)}")
    return tuple(sorted({*map(float, alphas), no_op}))


def _read_interventions(
    model: "LanguageModel", sets: "Mapping[str, NeuronSet | Intervention]", scope: "Scope", when: "RiskAbove | None"
) -> "dict[str, Intervention]":
    """Every condition as an intervention. Raises `InputError` where one cannot be run, or not beside the others."""
    from hneurons.interventions.scaling import NeuronScaling

    if not sets:
        raise InputError("there is nothing to do to the model: give at least one neuron set or intervention")
    found: dict[str, Intervention] = {}
    for label, given in sets.items():
        own = NeuronScaling(given, scope=scope, when=when) if isinstance(given, NeuronSet) else given
        try:
            own.check_model(model)
        except InputError as error:
            raise InputError(f"'{label}': {error}") from error
        found[label] = own
    if len({one.no_op for one in found.values()}) > 1:
        raise InputError("alpha multiplies in some of these interventions and is added in others: run them apart")
    return found


def _describe_scopes(interventions: "Mapping[str, Intervention]") -> str:
    scopes = {label: str(one.scope) for label, one in interventions.items()}
    one_for_all = len(set(scopes.values())) == 1
    return next(iter(scopes.values())) if one_for_all else ", ".join(f"{k}: {v}" for k, v in scopes.items())


def _spread(graded: list[list[Record]], cells: list[Cell], labels: Iterable[str]) -> list[Record]:
    """Records in the order item, condition, alpha; the plain model's stands for the no-op of every condition."""
    rows = []
    for records in graded:
        for label in labels:
            own = [r for cell, r in zip(cells, records, strict=True) if cell.condition in (None, label)]
            rows += sorted((replace(r, condition=label) for r in own), key=lambda r: r.alpha)
    return rows
