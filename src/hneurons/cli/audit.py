"""`hneurons audit` and `hneurons import`: recorded runs in, findings out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hneurons.cli.output import echo

if TYPE_CHECKING:
    from hneurons.records.recorded_run import Run
    from hneurons.report.audit_report import AuditReport


def audit(
    name: Annotated[str, typer.Argument(help="effect, parsing, ...; 'report' for all as HTML; 'list' names them.")],
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders of recorded runs, or of our own.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="HTML file; the JSON is written beside it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Put recorded runs, ours or imported ones, through an audit: each claim with verdict and evidence."""
    from json import dumps

    from hneurons.audits import AUDITS
    from hneurons.core.errors import InputError
    from hneurons.report.audit_report import audit_runs, write_report

    if name == "list":
        for audit_name, summary in AUDITS.summaries().items():
            echo(f"{audit_name:<13} {summary}")
        return
    if name != "report":
        AUDITS.get(name)
    if not runs:
        raise InputError(f"'audit {name}' needs at least one run: give the --out folder of a benchmark or an import")
    if name == "report" and out is None and not json:
        raise InputError("'audit report' needs --out FILE.html")
    if out is not None and out.suffix not in (".html", ".htm"):
        raise InputError(f"--out is '{out}': give an HTML file, such as audit.html; the JSON is written beside it")
    if out is not None and out.is_dir():
        raise InputError(f"{out} is a folder: give a file in it, such as {out / 'audit.html'}")
    if out is not None and (taken := next((p for p in out.parents if p.exists() and not p.is_dir()), None)):
        raise InputError(f"{taken} is a file, so {out} cannot be written below it: give another --out")
    report = audit_runs([run for folder in runs for run in _read(folder)], names=() if name == "report" else (name,))
    if out is not None:
        beside = write_report(report, out)
        echo(f"wrote {out} and {beside}", err=True)
    if not json:
        for said in dict.fromkeys(run.known_error for run in report.runs if run.known_error):
            echo(said)
    if json:
        echo(dumps(report.to_json(), ensure_ascii=False, indent=1))
    elif name != "report":
        _print_findings(report)
    if not json:
        for label, headline in (("headline claims", True), ("other claims", False)):
            counts = report.count_verdicts(headline=headline)
            if any(counts.values()):
                echo(f"{label}: " + "; ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def _read(folder: Path) -> "list[Run]":
    """The recorded run in a folder, or what is recorded of the detector of a run of ours."""
    from hneurons.audits import load_run
    from hneurons.core.artifacts import RUN_JSON

    if not (folder / RUN_JSON).is_file():
        return [load_run(folder)]
    from hneurons.audits.own_fit import record_fit
    from hneurons.runs.folder import RunFolder
    from hneurons.runs.plan import TRAIN

    run = RunFolder(folder)
    tests = {name: run.dataset(name) for name in run.testable() if name != TRAIN}
    fits = record_fit(folder.resolve().name, run.load_detector(), run.dataset(TRAIN), tests)
    return [replace(fit, known_error=run.judge_error()) for fit in fits]


def _print_findings(report: "AuditReport") -> None:
    from hneurons.report.audit_report import order_findings

    for result in report.results:
        for finding in order_findings(result):
            mark = " (headline)" if finding.headline else ""
            echo(f"{finding.verdict.upper()}{mark}: {finding.claim} [{finding.run}]\n    {finding.evidence}")
        for problem in result.problems:
            echo(f"MALFORMED {problem}")
        if result.n_problems > len(result.problems):
            echo(f"MALFORMED {result.n_problems - len(result.problems)} more rows")


def import_records(
    source: Annotated[Path, typer.Argument(help="JSONL, JSON, CSV, TSV or Parquet file, gzip or not.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run to write.")],
    map: Annotated[Path, typer.Option("--map", help="JSON file that maps columns; see docs/audits.md.")],
    items: Annotated[
        Path | None, typer.Option(help="Second file with columns of the items, joined by the map.")
    ] = None,
) -> None:
    """Turn foreign records into a run that the audits read; malformed rows are named and left out."""
    from hneurons.audits import Mapping, import_run, save_run
    from hneurons.core.artifacts import MANIFEST
    from hneurons.core.errors import InputError

    if out.is_file() or (out / MANIFEST).exists():
        raise InputError(f"{out} exists already: choose another --out, or delete it to import again")
    run = import_run(source, Mapping.load(map), items=items, name=out.name)
    for problem in run.problems:
        echo(f"MALFORMED {problem}", err=True)
    if not run.rows:
        raise InputError(
            f"no row of {source} could be read with {map}; the first problem: {next(iter(run.problems), '–')}"
        )
    save_run(run, out)
    echo(f"{out}: {len(run.rows)} rows, {run.n_problems} malformed, conditions: {', '.join(run.conditions) or '–'}")


def measure_overlap(
    model: Annotated[str, typer.Argument(help="Hub id, local folder, .gguf file or packaged alias.")],
    neurons: Annotated[str, typer.Argument(help="Run, detector, neuron set, release or hub id.")],
    harmful: Annotated[Path, typer.Option(help="Harmful instructions: JSONL with 'instruction'.")],
    harmless: Annotated[Path, typer.Option(help="Harmless instructions: JSONL with 'instruction'.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for three runs that 'audit geometry' reads.")],
    null_sets: Annotated[int, typer.Option(min=1, max=100_000, help="Layer-matched random sets.")] = 100,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: cuda where there is one.")] = None,
) -> None:
    """Measure what scaled neurons write along a model's refusal direction; a fifth of each file is held out."""
    from hneurons.audits import save_run
    from hneurons.mechanism.refusal_overlap import audit_refusal_overlap, capture_last_tokens, find_refusal_directions
    from hneurons.models.language_model import load_model
    from hneurons.neurons.opening import open_neurons

    chosen, loaded = open_neurons(neurons), load_model(model, device=device)
    chosen.check_model(loaded)
    kinds = [_instructions(harmful), _instructions(harmless)]
    cuts = [len(texts) * 4 // 5 for texts in kinds]
    train = [capture_last_tokens(loaded, texts[:cut]).residual for texts, cut in zip(kinds, cuts, strict=True)]
    held = [capture_last_tokens(loaded, texts[cut:]).residual for texts, cut in zip(kinds, cuts, strict=True)]
    found = find_refusal_directions(train[0], train[1], held_out=(held[0], held[1]))
    best = max(range(len(found.accuracy)), key=lambda layer: found.accuracy[layer])
    echo(f"refusal direction: held-out accuracy {found.accuracy[best]:.3f} in layer {best}, the best of them")
    prompts = [(f"{name}_{i}", text) for name, texts, cut in zip(("harmful", "harmless"), kinds, cuts, strict=True)
               for i, text in enumerate(texts[cut:])]  # fmt: skip
    for run in audit_refusal_overlap(loaded, chosen.layers, chosen.neurons, prompts, found, null_sets=null_sets):
        save_run(run, out / run.name)
        echo(f"{out / run.name}: {len(run.rows)} rows")


def _instructions(path: Path) -> list[str]:
    from hneurons.core.errors import SchemaError
    from hneurons.records.importing import read_source

    texts = [row.get("instruction") for row in read_source(path)]
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise SchemaError(f"{path}, row {number}, has no text in column 'instruction': give one instruction a line")
    return [str(text) for text in texts]
