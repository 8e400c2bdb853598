"""All verbs. Nothing heavy is imported before a verb runs, so that --help answers at once."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hneurons.cli.audit import audit, import_records, measure_overlap
from hneurons.cli.bench import bench
from hneurons.cli.decisions import abstain, calibrate
from hneurons.cli.examples import EXAMPLES
from hneurons.cli.export import export, import_classifier, publish
from hneurons.cli.origin import measure_run_origin, measure_set_drift
from hneurons.cli.output import echo
from hneurons.cli.plan_flags import given_options, plan_options, with_recorded
from hneurons.cli.score import score
from hneurons.cli.verify import verify
from hneurons.models.endpoint import open_endpoint
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import RunPlan
from hneurons.runs.presets import apply_preset
from hneurons.runs.run import Run

if TYPE_CHECKING:
    from hneurons.models.endpoint import Endpoint

app = typer.Typer(
    name="hneurons",
    help="Find, measure, steer and audit hallucination neurons in open-weight language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option("--out", help="Folder of the run; the same command resumes.")]
Folder = Annotated[Path, typer.Argument(help="Folder of a run, as given to --out.")]
Json = Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: cuda where there is one.")]
Rows = Annotated[int, typer.Option(min=1, help="Sequences that run at a time; lower it when memory is short.")]
JudgeUrl = Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of the llm judge and finder.")]
JudgeModel = Annotated[str, typer.Option(help="Model name at that endpoint.")]
SampleUrl = Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint that serves --model: draw there.")]
SampleModel = Annotated[str, typer.Option(help="Name of --model at that endpoint.")]
Recorded = Annotated[
    Path | None,
    typer.Option("--responses", help="Recorded answers in place of --questions: no question is asked."),
]
Resample = Annotated[
    bool, typer.Option("--resample", help="Draw the responses again where a changed setting needs it.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from hneurons import __version__

        echo(f"hneurons {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Find, measure, steer and audit hallucination neurons in open-weight language models."""
    from hneurons.core.progress import enable_progress

    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses with whatever secrets are in them
    enable_progress()


def _report_usage(*endpoints: "Endpoint | None") -> None:
    """What endpoints were asked for, on standard error."""
    for endpoint in endpoints:
        if endpoint is not None:
            counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in asdict(endpoint.usage).items())
            echo(f"{endpoint.url} ({endpoint.model}): {counts}", err=True)


def _emit(value: Any, as_json: bool, title: str) -> None:
    from hneurons.cli.output import print_json, print_tree

    if as_json:
        print_json(value)
    else:
        print_tree(title, value)


@app.command()
@plan_options
def run(
    context: typer.Context,
    plan: RunPlan,
    out: Out,
    responses: Recorded = None,
    preset: Annotated[
        str | None, typer.Option(help="'paper': the settings of arXiv 2512.01797; a flag that is given beats it.")
    ] = None,
    device: Device = None,
    rows: Rows = 128,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = "default",
    sample_url: SampleUrl = None,
    sample_model: SampleModel = "default",
    resample: Resample = False,
    as_json: Json = False,
) -> None:
    """The main job: sample, label, select, locate, contributions, fit, evaluate, report."""
    from hneurons.cli.output import print_json, print_run, run_row
    from hneurons.report.run_report import write_run_report

    judge, sampler = open_endpoint(judge_url, judge_model), open_endpoint(sample_url, sample_model)
    plan = with_recorded(plan, responses)
    if preset is not None:
        plan, said = apply_preset(plan, preset, given=given_options(context), endpoint=judge is not None)
        if said:
            echo(said, err=True)
    job = Run(out, plan, resample=resample, device=device, max_rows=rows, endpoint=judge, sampler=sampler)
    job.demand_endpoint()
    job.check_capability()
    for stage in (job.sample, job.label, job.select, job.locate, job.contributions):
        stage()
    job.fit(replace=True)
    results = job.evaluate()
    report_path = write_run_report(RunFolder(out))
    _report_usage(judge, sampler)
    if as_json:
        print_json(run_row(job, results, report_path))
    else:
        print_run(job, results, report_path)


@app.command()
@plan_options
def sample(
    plan: RunPlan,
    out: Out,
    responses: Recorded = None,
    device: Device = None,
    rows: Rows = 128,
    sample_url: SampleUrl = None,
    sample_model: SampleModel = "default",
    resample: Resample = False,
    as_json: Json = False,
) -> None:
    """Ask the questions and draw the responses; starts a run, whose folder the later stages take."""
    sampler = open_endpoint(sample_url, sample_model)
    plan = with_recorded(plan, responses)
    job = Run(out, plan, resample=resample, device=device, max_rows=rows, sampler=sampler)
    _emit(job.sample(), as_json, "sample")
    _report_usage(sampler)


@app.command()
def label(
    folder: Folder,
    judge_threshold: Annotated[
        float | None, typer.Option(help="Change the run's --judge-threshold; what follows must then be run again.")
    ] = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = "default",
    as_json: Json = False,
) -> None:
    """Judge every response: correct, incorrect, abstained or unscored."""
    judge = open_endpoint(judge_url, judge_model)
    plan = None
    if judge_threshold is not None:
        plan = replace(RunPlan.load(folder), judge_threshold=judge_threshold)
    _emit(Run(folder, plan, endpoint=judge).label(), as_json, "label")
    _report_usage(judge)


@app.command()
def select(folder: Folder, as_json: Json = False) -> None:
    """Keep consistently answered questions, balanced between right and wrong."""
    _emit(Run(folder).select(), as_json, "select")


@app.command()
def locate(
    folder: Folder, judge_url: JudgeUrl = None, judge_model: JudgeModel = "default", as_json: Json = False
) -> None:
    """Find the answer's tokens in every selected response."""
    finder = open_endpoint(judge_url, judge_model)
    _emit(Run(folder, endpoint=finder).locate(), as_json, "locate")
    _report_usage(finder)


@app.command()
def contributions(folder: Folder, device: Device = None, as_json: Json = False) -> None:
    """Measure every neuron's signal (by default CETT) over the answer's tokens and over the others."""
    _emit(Run(folder, device=device).contributions(), as_json, "contributions")


@app.command()
def fit(
    folder: Folder,
    labels: Annotated[
        str | None, typer.Option(help="1-vs-1 (answers) or 3-vs-1 (answers and other tokens); default: the run's.")
    ] = None,
    scaling: Annotated[str | None, typer.Option(help="standardized or raw contributions; default: the run's.")] = None,
    columns: Annotated[str | None, typer.Option(hidden=True)] = None,
    C: Annotated[
        float | None, typer.Option("--C", help="Fix the penalty (liblinear's C) instead of choosing it.")
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option("--select", help="held-out, or capability: held-out accuracy + ability without the neurons."),
    ] = None,
    capability: Annotated[str | None, typer.Option(help="Benchmark of ability, NAME or NAME:FILE.")] = None,
    capability_limit: Annotated[int | None, typer.Option(min=1, help="Items of that benchmark.")] = None,
    device: Device = None,
    rows: Rows = 64,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write it; default: the run's detector.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a detector fitted in another way.")] = False,
    as_json: Json = False,
) -> None:
    """Fit the sparse classifier; its positive weights are the H-neurons. What is not given is as the run was told."""
    from hneurons.cli.output import detector_row, print_detector, print_json
    from hneurons.core.errors import InputError

    if selection not in ("held-out", "capability", None):
        raise InputError(f"unknown way to select '{selection}': known are capability, held-out")
    if columns is not None:
        echo("--columns is now called --scaling: use that from now on", err=True)
        if scaling not in (None, columns):
            raise InputError(f"--scaling {scaling} and --columns {columns} contradict each other: give --scaling only")
    detector = Run(folder, device=device, max_rows=rows).fit(
        labels=labels,
        columns=scaling or columns,
        C=C,
        selection=selection or ("held-out" if C is not None else None),
        capability=capability,
        capability_limit=capability_limit,
        out=out,
        replace=replace,
    )
    print_json(detector_row(detector)) if as_json else print_detector(detector)


@app.command()
def scores(
    folder: Folder,
    stored: Annotated[bool, typer.Option("--stored", help="Only what needs no further pass of the model.")] = False,
    meanings: Annotated[str | None, typer.Option(help="Change the run's --meanings, and ask that judge.")] = None,
    meaning_rule: Annotated[str | None, typer.Option(help="Change the run's --meaning-rule.")] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Score every test answer in all other ways; the model reads its answers again and is asked about them."""
    changes = {"meanings": meanings, "meaning_rule": meaning_rule}
    changes = {name: value for name, value in changes.items() if value is not None}
    plan = replace(RunPlan.load(folder), **changes) if changes else None  # type: ignore[arg-type]
    job = Run(folder, plan, device=device)
    if not stored:
        job.states()
        job.opinions()
        job.entailment()
    by_dataset = job.scores()
    compared = job.rivals(by_dataset) if (job.detector / "detector.json").is_file() else {}
    found = {
        name: {
            **({"reading": compared[name].reading} if name in compared else {}),
            "answers": len(by.ids),
            "scores": [one.method for one in by.methods],
            "left_out": by.left_out,
        }
        for name, by in by_dataset.items()
    }
    _emit(found, as_json, "scores")


@app.command()
def evaluate(
    folder: Folder,
    detector: Annotated[
        str | None, typer.Option(help="Run, detector, release or hub id to test; default: the run's own detector.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write it; default: in the run.")] = None,
    as_json: Json = False,
) -> None:
    """Test the detector on unseen questions, beside random neurons and leak checks."""
    from hneurons.cli.output import make_console, print_evaluation, print_json, results_row
    from hneurons.runs.calibrated import evaluate_calibration

    run = Run(folder)
    results = run.evaluate(detector=detector, out=out)
    calibrated = evaluate_calibration(run) if detector is None and out is None else {}
    if as_json:
        print_json({k: row | ({"calibrated": calibrated[k]} if k in calibrated else {}) for k, row in
                    results_row(results).items()})  # fmt: skip
        return
    print_evaluation(results)
    for name, found in calibrated.items():
        make_console().print(found.sentence(name))


@app.command()
def report(folder: Folder, as_json: Json = False) -> None:
    """Write the run as one self-contained HTML page."""
    from hneurons.report.run_report import write_run_report

    _emit({"report": str(write_run_report(RunFolder(folder)))}, as_json, "report")


@app.command()
def doctor(
    model: Annotated[str, typer.Option(help="Hub id, local folder, .gguf file or packaged model.")],
    limit: Annotated[int, typer.Option(min=1, help="Questions that the run is to ask.")] = 5000,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of samples per question.")] = 10,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 50,
    examples: Annotated[int, typer.Option(min=1, help="Examples that are to be measured.")] = 2000,
    rows: Rows = 128,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Check a model before a run: FFN, template, offsets, alpha = 1; hours, memory and disk it would need."""
    from hneurons.cli.doctor import Wanted, examine
    from hneurons.cli.output import make_console, print_json, print_tree

    wanted = Wanted(limit=limit, n=n, max_new_tokens=max_new_tokens, examples=examples, rows=rows)
    found = examine(model, wanted, device=device)
    if as_json:
        print_json(found)
    else:
        print_tree("doctor", {k: v for k, v in found.items() if k != "verdict"})
        make_console().print(found["verdict"])
    if not found["fit"]:
        raise typer.Exit(1)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A run, one stage, a release, an export or a neuron set.")],
    as_json: Json = False,
) -> None:
    """What a folder holds: the result first, then settings, counts and how far it has come."""
    from hneurons.cli.output import describe

    _emit(describe(path), as_json, str(path))


@app.command(name="list")
def list_kind(
    kind: Annotated[str, typer.Argument(help="questions, judges, signals, scores, models, benchmarks, ...")],
    as_json: Json = False,
) -> None:
    """Name what there is to choose from."""
    from hneurons.cli.output import known

    _emit(known(kind), as_json, kind)


app.command()(score)
app.command()(calibrate)
app.command()(abstain)
app.command()(bench)
app.command()(audit)
app.command()(export)
app.command()(publish)
app.command(name="import-classifier")(import_classifier)
app.command(name="import")(import_records)
app.command(name="overlap")(measure_overlap)
app.command(name="origin")(measure_run_origin)
app.command(name="drift")(measure_set_drift)
app.command()(verify)
for registered in app.registered_commands:
    name = registered.name or registered.callback.__name__  # type: ignore[union-attr]
    registered.epilog = f"Example: {EXAMPLES[name]}"
