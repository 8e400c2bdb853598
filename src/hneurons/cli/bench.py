"""`hneurons bench`: scale neurons, run benchmarks, compare with random sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hneurons.cli.output import echo, make_console

if TYPE_CHECKING:
    from hneurons.benchmarks.results import BenchmarkResult


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
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: cuda where there is one.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Sequences that run at a time; lower it when memory is short.")] = 64,
    judge_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of an LLM judge.")] = None,
    judge_model: Annotated[str, typer.Option(help="Model name at that endpoint.")] = "default",
    judge_threshold: Annotated[
        float | None,
        typer.Option(
            help="The alias judge calls a reply incorrect up to this probability that it is right; by default 0.17."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Scale neurons by several alphas and run benchmarks, beside random neurons; every reply is kept with its grade."""
    from hneurons.benchmarks.sweeps import results_json
    from hneurons.cli.output import print_json
    from hneurons.models.endpoint import open_endpoint
    from hneurons.runs.sweep import SweepPlan, read_alphas, read_scope, run_sweep

    plan = SweepPlan(
        benchmarks=tuple(names), neurons=neurons, model=model, out=out, alphas=read_alphas(alpha), controls=controls,
        control_kinds=tuple(kind.strip() for kind in control_kinds.split(",") if kind.strip()), limit=limit,
        scope=read_scope(scope), when_risk=when_risk, max_new_tokens=max_new_tokens, split=split, seed=seed,
        dtype=dtype, judge_threshold=judge_threshold,
    )  # fmt: skip
    folder, (about, results) = run_sweep(
        plan, device=device, max_rows=rows, endpoint=open_endpoint(judge_url, judge_model)
    )
    page = _write_page(results, about, folder / "report.html")
    if json:
        print_json(results_json(results, about))
    else:
        print_results(results)
        echo(f"records and results: {folder}" + (f"; report: {page}" if page else ""))


def _write_page(results: "dict[str, BenchmarkResult]", about: dict[str, Any], path: Path) -> Path | None:
    """The HTML page; without the report extra the JSON and the table must do."""
    from hneurons.core.errors import MissingExtraError
    from hneurons.report.bench_report import write_bench_report

    try:
        return write_bench_report(results, about, path)
    except MissingExtraError as error:
        echo(str(error), err=True)
        return None


def print_results(results: "dict[str, BenchmarkResult]") -> None:
    """Rates by alpha, slopes and differences, with what was not scored."""
    from rich.table import Table

    from hneurons.core.wording import of_items, percent, points
    from hneurons.report.page import words
    from hneurons.report.sweep_findings import describe_judge, describe_losses, judge_sweep

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
        console = make_console()
        console.print(table)
        console.print(judge_sweep(result))
        for said in filter(None, [*describe_losses(result), describe_judge(result)]):
            console.print(said)
        for at in result.selected.alphas:
            if at.perplexity is not None:
                console.print(f"perplexity at alpha {at.alpha:g}: {at.perplexity:.3f}")
        for one in result.against:
            above = f"{points(one.slope_above_controls)} pp per alpha (n={one.slope_above_controls.n})"
            console.print(f"slope above the mean of the {words(one.kind)} sets: {above}; "
                          f"sets with a smaller slope: {one.controls_below} of {one.controls}")  # fmt: skip
        for condition in result.conditions:
            console.print(f"slope of {condition.name}: {points(condition.slope)} pp per alpha")
