"""`hneurons audit` and `hneurons import`: recorded runs in, findings out."""

from pathlib import Path
from typing import Annotated

import typer


def audit(
    name: Annotated[str, typer.Argument(help="effect, parsing, ...; 'report' for all as HTML; 'list' names them.")],
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders of recorded runs.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="HTML file; the JSON is written beside it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Result as JSON on standard output, nothing else.")] = False,
) -> None:
    """Put recorded runs, ours or imported ones, through an audit: each claim with verdict and evidence."""
    from json import dumps

    from hneurons.audits import AUDITS, load_run
    from hneurons.core.errors import InputError
    from hneurons.report.audit_report import audit_runs, write_report

    if name == "list":
        for audit_name, summary in AUDITS.summaries().items():
            typer.echo(f"{audit_name:<13} {summary}")
        return
    if name != "report":
        AUDITS.get(name)
    if not runs:
        raise InputError(f"'audit {name}' needs at least one run: give the --out folder of a benchmark or an import")
    if name == "report" and out is None and not json:
        raise InputError("'audit report' needs --out FILE.html")
    if out is not None and out.suffix not in (".html", ".htm"):
        raise InputError(f"--out is '{out}': give an HTML file, such as audit.html; the JSON is written beside it")
    report = audit_runs([load_run(folder) for folder in runs], names=() if name == "report" else (name,))
    if out is not None:
        beside = write_report(report, out)
        typer.echo(f"wrote {out} and {beside}", err=True)
    if json:
        typer.echo(dumps(report.to_json(), ensure_ascii=False, indent=1))
    elif name != "report":
        _print_findings(report)
    if not json:
        typer.echo("; ".join(f"{count} {verdict}" for verdict, count in report.verdicts.items()))


def _print_findings(report: "AuditReport") -> None:  # type: ignore[name-defined]  # noqa: F821
    for result in report.results:
        for finding in result.findings:
            typer.echo(f"{finding.verdict.upper()}: {finding.claim} [{finding.run}]\n    {finding.evidence}")
        for problem in result.problems:
            typer.echo(f"MALFORMED {problem}")
        if result.n_problems > len(result.problems):
            typer.echo(f"MALFORMED {result.n_problems - len(result.problems)} more rows")


def import_records(
    source: Annotated[Path, typer.Argument(help=".csv, .jsonl or .json file, gzip or not.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run to write.")],
    map: Annotated[Path, typer.Option("--map", help="JSON file that maps columns; see docs/audits.md.")],
    items: Annotated[
        Path | None, typer.Option(help="Second file with columns of the items, joined by the map.")
    ] = None,
) -> None:
    """Turn foreign records into a run that the audits read; malformed rows are named and left out."""
    from hneurons.audits import Mapping, import_run, save_run
    from hneurons.core.errors import InputError

    run = import_run(source, Mapping.load(map), items=items, name=out.name)
    for problem in run.problems:
        typer.echo(f"MALFORMED {problem}", err=True)
    if not run.rows:
        raise InputError(
            f"no row of {source} could be read with {map}; the first problem: {next(iter(run.problems), '–')}"
        )
    save_run(run, out)
    typer.echo(
        f"{out}: {len(run.rows)} rows, {run.n_problems} malformed, conditions: {', '.join(run.conditions) or '–'}"
    )
