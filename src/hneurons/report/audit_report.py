"""One audit report: every claim with verdict, evidence and figure, as self-contained HTML with JSON beside it."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hneurons.audits import AUDITS, AuditResult, Figure, Run
from hneurons.audits.results import Verdict
from hneurons.core.artifacts import package_versions, write_atomic
from hneurons.core.errors import MissingExtraError
from hneurons.core.progress import progress
from hneurons.core.stats import PAIRED_DRAWS

VERDICTS: tuple[Verdict, ...] = ("not supported", "not testable", "supported")
_FRONT, _BACK = ("#b3400a", "#1f5f8b", "#3d7a4a", "#7a4a8b", "#8a6d1f", "#4a4a4a", "#a0355f"), "#b9b4aa"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The results of all audits over some runs."""

    runs: tuple[Run, ...]
    results: tuple[AuditResult, ...]

    @property
    def verdicts(self) -> dict[str, int]:
        found: Counter[Verdict] = Counter(finding.verdict for result in self.results for finding in result.findings)
        return {verdict: found[verdict] for verdict in VERDICTS}

    def to_json(self) -> dict[str, Any]:
        """Runs, verdicts and results as plain JSON values; figures are left to the HTML."""
        return {
            "runs": [_describe(run) for run in self.runs],
            "verdicts": self.verdicts,
            "versions": package_versions(),
            "audits": [{k: v for k, v in r.to_json().items() if k != "figures"} for r in self.results],
        }


def _describe(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "source": run.source,
        "settings": run.settings.to_row(),
        "rows": len(run.rows),
        "malformed": run.n_problems,
        "problems": [str(problem) for problem in run.problems],
    }


def audit_runs(runs: Sequence[Run], *, names: Sequence[str] = ()) -> AuditReport:
    """Put runs through the named audits (default: all). Audits that do not apply to any run are left out."""
    wanted = list(names) or list(AUDITS)
    results = []
    with progress("audit", len(wanted), unit="audits") as advance:
        for name in wanted:
            result = AUDITS.get(name)(runs)
            advance(note=name)
            if names or not _inapplicable(result):
                results.append(result)
    return AuditReport(tuple(runs), tuple(results))


def _inapplicable(result: AuditResult) -> bool:
    return len(result.findings) == 1 and result.findings[0].claim.endswith("audit applies")


def render_report(report: AuditReport) -> str:
    """The report as one HTML page without outside references. Raises `MissingExtraError` without the report extra."""
    try:
        from jinja2 import Environment, FileSystemLoader
    except ImportError as error:
        raise MissingExtraError("jinja2", "report", "the audit report") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["cell"] = _cell
    sections: list[dict[str, Any]] = []
    for result in report.results:
        figures = {name: draw_figure(figure) for name, figure in result.figures.items()}
        shown: set[str] = set()
        findings = []
        for number, finding in enumerate(sorted(result.findings, key=lambda f: VERDICTS.index(f.verdict)), 1):
            drawn = "" if finding.figure in shown else figures.get(finding.figure, "")
            shown.add(finding.figure)
            findings.append({"finding": finding, "figure": drawn, "anchor": f"{result.audit}-{number}"})
        about = (AUDITS.get(result.audit).__doc__ or "").strip().split("\n")[0]
        sections.append({"result": result, "findings": findings, "about": about, "tables": _tables(result)})
    index: dict[str, list[dict[str, Any]]] = {}
    for section in sections:
        for entry in section["findings"]:
            index.setdefault(entry["finding"].run, []).append(entry)
    return environment.get_template("audit.html").render(
        report=report, runs=[_describe(run) for run in report.runs], sections=sections, versions=package_versions(),
        index=index, draws=f"{PAIRED_DRAWS:,}",
    )  # fmt: skip


def _tables(result: AuditResult) -> list[dict[str, Any]]:
    tables = []
    for name, rows in result.tables.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        tables.append({"name": name, "columns": columns, "rows": rows})
    return tables


def _cell(value: Any) -> str:
    """A table cell: estimates as value with interval and n, numbers to four digits."""
    if value is None:
        return "–"
    if isinstance(value, dict):
        if set(value) == {"value", "low", "high", "n"}:
            return f"{_cell(value['value'])} [{_cell(value['low'])}, {_cell(value['high'])}] n={value['n']}"
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(_cell(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw_figure(figure: Figure) -> str:
    """A figure as inline SVG: the first series in front with its band, controls pale behind it."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report", "the audit report") from error
    from matplotlib.figure import Figure as Canvas

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": figure.title,
        "font.size": 9,
        "font.family": "sans-serif",
    }
    with matplotlib.rc_context(settings):
        canvas = Canvas(figsize=(6.4, 3.0), layout="constrained", facecolor="none")
        axes = canvas.add_subplot(facecolor="none")
        if figure.mark is not None:
            axes.axvline(figure.mark, color="#77716a", linewidth=0.8, linestyle=":")
        front = 0
        for place, series in enumerate(figure.series):
            pale = place > 0 and any(word in series.label for word in ("random", "control"))
            colour = _BACK if pale else _FRONT[front % len(_FRONT)]
            front += not pale
            if figure.kind == "bars":
                width = 0.8 * min((b - a for a, b in zip(series.x, series.x[1:], strict=False)), default=1.0)
                axes.bar(series.x, series.y, width=width, color=colour, label=series.label)
                continue
            axes.plot(
                series.x, series.y, marker="o", markersize=3, linewidth=1 if pale else 1.8, color=colour,
                label=series.label, zorder=1 if pale else 3,
            )  # fmt: skip
            if series.low and series.high:
                axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.15, linewidth=0)
        if figure.kind == "bars":
            axes.axhline(0, color="#4a4a4a", linewidth=0.6)
        axes.set(xlabel=figure.x, ylabel=figure.y)
        axes.set_title(figure.title, loc="left", fontsize=9, fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e2da", linewidth=0.6)
        axes.set_axisbelow(True)
        if len(figure.series) > 1:
            axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def write_report(report: AuditReport, out: Path) -> Path:
    """Write the HTML to `out` and the JSON beside it; returns the JSON's path."""
    page = render_report(report)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_suffix(".json")
    write_atomic(beside, json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
    write_atomic(out, page)
    return beside
