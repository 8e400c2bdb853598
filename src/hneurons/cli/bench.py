"""`hneurons bench`: scale neurons, run benchmarks, compare with random sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hneurons.benchmarks.results import BenchmarkResult
    from hneurons.interventions.gate import RiskAbove
    from hneurons.interventions.intervention import Scope
    from hneurons.models.language_model import LanguageModel
    from hneurons.neurons.neuron_set import NeuronSet
    from hneurons.neurons.opening import NeuronSource

_MATCHED_ON = 64  # questions on which the contributions of contribution-matched controls are measured


def bench(
    names: Annotated[list[str], typer.Argument(help="Benchmarks, as NAME or NAME:FILE; see 'list benchmarks'.")],
    neurons: Annotated[str, typer.Option(help="Run, detector, neuron set, release or hub id.")],
    model: Annotated[
        str | None, typer.Option(help="Hub id, local folder, .gguf file or packaged model; default: the run's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; the same command goes on there. Default: RUN/bench/SCOPE.")
    ] = None,
    alpha: Annotated[str, typer.Option(help="Factors; 1 changes nothing and is always run.")] = "0,0.5,1,1.5,2,2.5,3",
    controls: Annotated[int, typer.Option(min=0, help="Random sets of each kind to compare with.")] = 5,
    control_kinds: Annotated[
        str, typer.Option(help="unconstrained, layer_matched, contribution_matched; several with commas.")
    ] = "layer_matched",
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each benchmark, a random subset.")] = None,
    scope: Annotated[str, typer.Option(help="all, response, or the first so many generated tokens.")] = "all",
    when_risk: Annotated[
        float | None, typer.Option(help="Scale only while the detector's running risk is above this probability.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Token limit; default: the benchmark's.")] = None,
    split: Annotated[str, typer.Option(help="held_out or selection: was anything tuned on these items?")] = "",
    seed: Annotated[int, typer.Option(help="Seed of items, controls and sampling.")] = 0,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: cuda where there is one.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Sequences that run at a time; lower it when memory is short.")] = 64,
    judge_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of an LLM judge.")] = None,
    judge_model: Annotated[str, typer.Option(help="Model name at that endpoint.")] = "default",
    json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Scale neurons by several alphas and run benchmarks, beside random neurons; every reply is kept with its grade."""
    from hneurons.benchmarks import load_items
    from hneurons.benchmarks.results import earlier_results, neurons_id, results_json, save_sweep, summarize_run
    from hneurons.benchmarks.runner import run_benchmark
    from hneurons.cli.output import print_json
    from hneurons.core.artifacts import package_versions
    from hneurons.core.errors import InputError
    from hneurons.models.endpoint import open_endpoint
    from hneurons.models.language_model import load_model
    from hneurons.neurons.neuron_set import NeuronSet
    from hneurons.neurons.opening import find_neurons

    alphas, where = read_alphas(alpha), read_scope(scope)
    source = find_neurons(neurons)
    model, out = find_places(source, model, out, scope, when_risk)
    kinds = [kind.strip() for kind in control_kinds.split(",") if kind.strip()]
    if controls and not kinds:
        raise InputError("--control-kinds names no kind of random neurons: name one, or give --controls 0")
    loaded = {spec.partition(":")[0]: load_items(spec, limit=limit, seed=seed) for spec in names}
    if len(loaded) < len(names):
        raise InputError("a benchmark is named twice: name each once, or use two --out folders")
    selected, when = NeuronSet.load(source.folder), read_policy(source.folder, when_risk)
    if dtype not in ("float32", "bfloat16", "float16"):
        raise InputError(f"unknown dtype '{dtype}': known are float32, bfloat16, float16")
    guest = load_model(model, dtype=dtype, device=device)  # type: ignore[arg-type]
    selected.check_model(guest)
    contributions = _contributions(guest, selected.signal) if controls and "contribution_matched" in kinds else None
    sets = draw_sets(selected, kinds, controls, seed, contributions)
    endpoint = open_endpoint(judge_url, judge_model)
    drawn = {name: neurons_id(control) for name, control in sets.items() if control is not selected}
    about = {"model": model, "neurons": neurons_id(selected), "size": len(selected), "per_mille": 1000 * selected.share,
             "scope": scope, "controls": drawn, "seed": seed,
             "dtype": dtype, "when_risk": when_risk, "versions": package_versions()}  # fmt: skip
    earlier_results(out, about)
    results = {}
    for name, (benchmark, items) in loaded.items():
        run = run_benchmark(
            guest, name, benchmark, items, sets, alphas=alphas, scope=where, when=when, max_new_tokens=max_new_tokens,
            seed=seed, split=split, endpoint=endpoint, max_rows=rows, out=out / name,
        )  # fmt: skip
        results[name] = summarize_run(run)
    for label, chosen in sets.items():
        chosen.save(out / "neurons" / label)
    results = save_sweep(out, results, about).results
    page = _write_page(results, about, out / "report.html")
    if json:
        print_json(results_json(results, about))
    else:
        print_results(results)
        typer.echo(f"records and results: {out}" + (f"; report: {page}" if page else ""))


def read_alphas(text: str) -> tuple[float, ...]:
    """Numbers with commas between them. Raises `InputError` for anything else."""
    import math

    from hneurons.core.errors import InputError

    try:
        alphas = tuple(float(part) for part in text.split(","))
    except ValueError:
        alphas = ()
    if not alphas or not all(map(math.isfinite, alphas)):
        raise InputError(f"--alpha should be numbers with commas between them, such as 0,0.5,1,2; found '{text}'")
    return alphas


def read_scope(text: str) -> "Scope":
    """all, response, or a number of tokens. Raises `InputError` for anything else."""
    from hneurons.core.errors import InputError

    words: dict[str, Scope] = {"all": "all", "response": "response"}
    if text in words:
        return words[text]
    if text.isdigit() and int(text) >= 1:
        return int(text)
    raise InputError(f"--scope should be all, response or a number of tokens from 1 on, found '{text}'")


def find_places(
    source: "NeuronSource", model: str | None, out: Path | None, scope: str, when_risk: float | None
) -> tuple[str, Path]:
    """Model and folder of results; of a run its model and a folder under RUN/bench."""
    from hneurons.core.errors import InputError
    from hneurons.runs.plan import RunPlan

    if source.run is not None:
        name = scope if when_risk is None else f"{scope}-risk-{when_risk:g}"
        model, out = model or RunPlan.load(source.run).model, out or source.run / "bench" / name
    if model is None or out is None:
        lacking = "--model" if model is None else "--out"
        raise InputError(
            f"{source.folder} is no run, so {lacking} is needed: give it, or the folder of a run as --neurons"
        )
    return model, out


def read_policy(neurons: Path, when_risk: float | None) -> "RiskAbove | None":
    """When to scale, by the detector that stands beside the neurons. Raises `InputError` where there is none."""
    if when_risk is None:
        return None
    from hneurons.detection.detector import open_detector
    from hneurons.interventions.gate import RiskAbove

    return RiskAbove(open_detector(neurons), when_risk)


def draw_sets(
    selected: "NeuronSet", kinds: list[str], count: int, seed: int, contributions: "NDArray[np.float64] | None"
) -> "dict[str, NeuronSet]":
    """The selected set and `count` controls of each kind, by name."""
    from hneurons.benchmarks.runner import SELECTED
    from hneurons.neurons.controls import draw_control

    sets = {SELECTED: selected}
    for kind in kinds:
        for number in range(count):
            sets[f"random_{kind}_{number}"] = draw_control(
                selected, kind, seed=seed * 1000 + number, contributions=contributions  # type: ignore[arg-type]
            )  # fmt: skip
    return sets


def _contributions(model: "LanguageModel", signal: str) -> "NDArray[np.float64]":
    """Mean signal over built-in questions, the same whatever is run, so that all benchmarks have the same controls."""
    from hneurons.benchmarks import load_items
    from hneurons.models.prompts import alternate, encode_turns
    from hneurons.neurons.controls import mean_contributions

    _, items = load_items("facts", limit=_MATCHED_ON)
    prompts = [encode_turns(model.tokenizer, alternate(item.turns)) for item in items]
    return mean_contributions(model, prompts, signal=signal)


def _write_page(results: "dict[str, BenchmarkResult]", about: dict[str, Any], path: Path) -> Path | None:
    """The HTML page; without the report extra the JSON and the table must do."""
    from hneurons.core.errors import MissingExtraError
    from hneurons.report.bench_report import write_bench_report

    try:
        return write_bench_report(results, about, path)
    except MissingExtraError as error:
        typer.echo(str(error), err=True)
        return None


def print_results(results: "dict[str, BenchmarkResult]") -> None:
    """Rates by alpha, slopes and differences, with what was not scored."""
    from rich.console import Console
    from rich.table import Table

    from hneurons.core.wording import of_items, percent, points
    from hneurons.report.page import words
    from hneurons.report.sweep_findings import judge_sweep

    for name, result in results.items():
        grouped = result.groups != result.items
        items = f"{result.items} items" + (f" in {result.groups} groups" if grouped else "")
        table = Table("alpha", "rate %", "n (groups)" if grouped else "n", "unscored", "truncated", "change pp",
                      "gained / lost", title=f"{name}: {result.outcome} ({items}; judge: {result.judge})",
                      caption=f"set: {result.selected.name}")  # fmt: skip
        for at in result.selected.alphas:
            change = points(at.change) + of_items(at.change, at.rate.n)
            table.add_row(f"{at.alpha:g}", percent(at.rate), f"{at.rate.n}" + (f" ({at.groups})" if grouped else ""),
                          str(sum(at.unscored.values())), str(at.truncated),
                          *(("–", "–") if at.alpha == 1 else (change, f"{at.gained}/{at.lost}")))  # fmt: skip
        console = Console()
        console.print(table)
        console.print(judge_sweep(result))
        for at in result.selected.alphas:
            if at.perplexity is not None:
                console.print(f"perplexity at alpha {at.alpha:g}: {at.perplexity:.3f}")
        for one in result.against:
            above = f"{points(one.slope_above_controls)} pp per alpha (n={one.slope_above_controls.n})"
            console.print(f"slope above the mean of the {words(one.kind)} sets: {above}; "
                          f"sets with a smaller slope: {one.controls_below} of {one.controls}")  # fmt: skip
        for condition in result.conditions:
            console.print(f"slope of {condition.name}: {points(condition.slope)} pp per alpha")
