"""`hneurons origin` and `hneurons drift`: were a run's neurons there before tuning, and are two sets the same?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hneurons.cli.output import echo, make_console

if TYPE_CHECKING:
    from hneurons.mechanism.overlap_null import Fit
    from hneurons.mechanism.set_overlap import SetDrift
    from hneurons.runs.origin import Origin


def measure_run_origin(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    base: Annotated[str, typer.Option(help="The checkpoint before tuning, named as --model of 'run'.")],
    tuned: Annotated[str | None, typer.Option(help="The run's own model, where it lies elsewhere now.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Random sets of each kind to compare with.")] = 100,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: cuda where there is one.")] = None,
    rows: Annotated[
        int, typer.Option(min=1, help="Sequences that run at a time; lower it when memory is short.")
    ] = 128,
    judge_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible endpoint of the llm judge and finder.")
    ] = None,
    judge_model: Annotated[str, typer.Option(help="Model name at that endpoint.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Were the neurons there before tuning? The detector on the base model, and how far tuning moved its neurons."""
    from hneurons.cli.output import print_json
    from hneurons.core.errors import MissingExtraError
    from hneurons.core.rows import to_row
    from hneurons.models.endpoint import open_endpoint
    from hneurons.report.run_report import write_run_report
    from hneurons.runs.folder import RunFolder
    from hneurons.runs.origin import measure_origin
    from hneurons.runs.run import Run

    run = Run(folder, device=device, max_rows=rows, endpoint=open_endpoint(judge_url, judge_model))
    run.demand_endpoint()
    found = measure_origin(run, base, tuned=tuned, draws=draws)
    try:
        page: Path | None = write_run_report(RunFolder(folder))
    except MissingExtraError as error:
        echo(str(error), err=True)
        page = None
    if as_json:
        print_json({**to_row(found), "report": None if page is None else str(page)})
    else:
        print_origin(found, page)


def measure_set_drift(
    a: Annotated[str, typer.Argument(help="Run, detector, neuron set, release or hub id.")],
    b: Annotated[str, typer.Argument(help="The same of another checkpoint or another fit.")],
    limit: Annotated[
        float | None, typer.Option("--max", min=0, max=1, help="Exit with 1 when 1 - Jaccard is above this.")
    ] = None,
    permutations: Annotated[
        int, typer.Option(min=0, help="Fits to permuted labels, for the p-value of the overlap of two runs.")
    ] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """How far two neuron sets differ; with --max a gate for continuous integration."""
    from hneurons.cli.output import print_json
    from hneurons.core.errors import HNeuronsError
    from hneurons.core.rows import to_row
    from hneurons.mechanism.overlap_null import permute_overlap
    from hneurons.mechanism.set_overlap import compare_sets, read_probabilities
    from hneurons.neurons.opening import open_neurons

    first, second = open_neurons(a), open_neurons(b)
    known = read_probabilities(a), read_probabilities(b)
    both = (known[0], known[1]) if known[0] is not None and known[1] is not None else None
    fits = [_read_fit(source) for source in (a, b)]
    null = None
    if permutations and len(first) and len(second) and fits[0] is not None and fits[1] is not None:
        null = permute_overlap(fits[0], fits[1], draws=permutations)
    found = compare_sets(first, second, probabilities=both, null=null)
    if as_json:
        print_json({**to_row(found), "drift": found.drift})
    else:
        print_set_drift(found)
    if limit is not None and found.drift > limit:
        raise HNeuronsError(
            f"the neuron sets in {a} and {b} differ by {found.drift:.3f} (1 - Jaccard), more than the {limit:g} that "
            "--max allows"
        )


def _read_fit(source: str) -> "Fit | None":
    """A run's own detector with the contributions it was fitted on; None for anything but a run that has both."""
    from hneurons.core.artifacts import MANIFEST, RUN_JSON
    from hneurons.mechanism.overlap_null import Fit
    from hneurons.runs.folder import RunFolder
    from hneurons.runs.plan import TRAIN

    if not (Path(source) / RUN_JSON).is_file():
        return None
    run = RunFolder(Path(source))
    if not (run.place(TRAIN, "contributions") / MANIFEST).is_file():
        return None
    return Fit(run.load_detector(), run.load_contributions(TRAIN))


def print_set_drift(found: "SetDrift") -> None:
    """One figure a line."""
    from rich.table import Table

    table = Table("", "", show_header=False, title="two neuron sets")
    correlation = "not testable" if found.correlation != found.correlation else f"{found.correlation:.3f}"
    permuted = "not measured: needs two runs with their contributions, and --permutations"
    if found.permutations:
        permuted = (
            f"{found.expected:.3g} shared on average of {found.permutations} fits, p {found.p:.3g}; "
            f"{found.shared_questions} questions are in both"
        )
    rows = (
        ("neurons", f"{found.size_a} and {found.size_b} of {found.total:,}"),
        ("shared", f"{found.shared} ({found.uniform:.3g} if every neuron were as likely as any other)"),
        ("by permuted labels", permuted),
        ("Jaccard", f"{found.jaccard:.3f} (drift {found.drift:.3f})"),
        ("share of the smaller set", "–" if found.overlap != found.overlap else f"{found.overlap:.3f}"),
        (f"rank correlation of {found.compared}", correlation),
        ("checkpoint", "the same" if found.same_weights else "different weights"),
    )
    for row in rows:
        table.add_row(*row)
    make_console().print(table)


def print_origin(found: "Origin", page: Path | None) -> None:
    """Transfer and drift as tables, each with its reading in words."""
    from rich.table import Table

    from hneurons.core.wording import interval
    from hneurons.report.origin_report import judge_drift, judge_transfer, transfer_lines

    console = make_console()
    for name, result in found.transfer.items():
        title = f"{name}: {result.right} right + {result.wrong} wrong answers of {found.base}"
        table = Table("applied to the base model", "AUROC", "the detector is", title=title)
        for line in transfer_lines(result):
            table.add_row(*line)
        console.print(table)
        console.print(judge_transfer(result))
    for name in found.counts:
        if name not in found.transfer:
            console.print(f"{name}: no answer of the base model was located")
    if found.ranks is not None and found.ranks.parts:
        score = found.ranks.score
        table = Table("against", "expected", "95% of draws", "p less", "p more",
                      title=f"drift: mean rank of the H-neurons {interval(score.mean)}, 0 = changed least")  # fmt: skip
        for c in score.comparisons:
            drawn = f"{c.low:.3f} to {c.high:.3f}"
            table.add_row(c.against, f"{c.expected:.3f}", drawn, f"{c.p_less:.4f}", f"{c.p_more:.4f}")
        console.print(table)
        alone = ", ".join(f"{part.part} {interval(part.mean)}" for part in found.ranks.parts[1:])
        console.print(f"mean rank by one projection alone: {alone}")
    for sentence in judge_drift(found):
        console.print(sentence)
    if page is not None:
        console.print(f"report: {page}", soft_wrap=True)
