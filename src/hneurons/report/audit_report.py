"""One audit report: every claim with verdict, evidence and figure, as self-contained HTML with JSON beside it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hneurons.audits import AUDITS, AuditResult, Figure, Finding, Run
from hneurons.audits.verdicts import Verdict
from hneurons.core.artifacts import package_versions
from hneurons.core.files import write_atomic
from hneurons.core.progress import progress
from hneurons.core.rows import dump_json
from hneurons.core.stats import PAIRED_DRAWS
from hneurons.core.wording import count, listing
from hneurons.report.figures import BAND, COLOURS, INK, SOFT, plot_figure
from hneurons.report.page import render_page

VERDICTS: tuple[Verdict, ...] = ("contradicted", "not shown", "not testable", "supported")
_NAMED_BARS = 12


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The results of all audits over some runs."""

    runs: tuple[Run, ...]
    results: tuple[AuditResult, ...]

    @property
    def verdicts(self) -> dict[str, int]:
        return self.count_verdicts()

    def count_verdicts(self, *, headline: bool | None = None) -> dict[str, int]:
        """How many findings have each verdict; only headline claims, or only the others, where that is asked."""
        found: Counter[Verdict] = Counter(
            finding.verdict
            for result in self.results
            for finding in result.findings
            if headline in (None, finding.headline)
        )
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
        "known_error": run.known_error,
    }


def audit_runs(runs: Sequence[Run], *, names: Sequence[str] = ()) -> AuditReport:
    """Put runs through the named audits (default: all). Audits that do not apply to any run are left out."""
    wanted = list(names) or list(AUDITS)
    results = []
    with progress("audit", len(wanted)) as advance:
        for name in wanted:
            result = AUDITS.get(name)(runs)
            advance(note=name)
            if names or not _inapplicable(result):
                results.append(result)
    return AuditReport(tuple(runs), tuple(results))


def order_findings(result: AuditResult) -> list[Finding]:
    """What a run is reported for first, then what is contradicted, not shown and not testable."""
    return sorted(result.findings, key=lambda f: (not f.headline, VERDICTS.index(f.verdict)))


def _inapplicable(result: AuditResult) -> bool:
    return len(result.findings) == 1 and result.findings[0].claim.endswith("audit applies")


def say_headline(report: AuditReport) -> str:
    """How the claims stand that the runs are reported for, in one sentence; empty where there are none."""
    found = {verdict: n for verdict, n in report.count_verdicts(headline=True).items() if n}
    if not found:
        return ""
    parts = listing([f"{n} {'is' if n == 1 else 'are'} {verdict}" for verdict, n in reversed(found.items())])
    return f"Of {count(sum(found.values()), 'headline claim')}, {parts}."


def render_report(report: AuditReport) -> str:
    """The report as one HTML page without outside references. Raises `MissingExtraError` without the report extra."""
    sections: list[dict[str, Any]] = []
    for result in report.results:
        figures = {name: draw_figure(figure) for name, figure in result.figures.items()}
        shown: set[str] = set()
        findings = []
        for number, finding in enumerate(order_findings(result), 1):
            drawn = "" if finding.figure in shown else figures.get(finding.figure, "")
            shown.add(finding.figure)
            findings.append({"finding": finding, "figure": drawn, "anchor": f"{result.audit}-{number}"})
        about = (AUDITS.get(result.audit).__doc__ or "").strip().split("\n")[0]
        sections.append({"result": result, "findings": findings, "about": about, "tables": _tables(result)})
    index: dict[str, list[dict[str, Any]]] = {}
    for section in sections:
        for entry in section["findings"]:
            index.setdefault(entry["finding"].run, []).append(entry)
    values = {
        "report": report, "runs": [_describe(run) for run in report.runs], "sections": sections,
        "versions": package_versions(),
        "index": index, "headline": say_headline(report), "draws": f"{PAIRED_DRAWS:,}",
    }  # fmt: skip
    return render_page("audit.html", values)


def _tables(result: AuditResult) -> list[dict[str, Any]]:
    tables = []
    for name, rows in result.tables.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        tables.append({"name": name, "columns": columns, "rows": rows})
    return tables


def draw_figure(figure: Figure) -> str:
    """A figure as inline SVG: the first series in front with its band, controls pale behind it."""
    lines = -(-len(figure.series) // 2) if len(figure.series) > 1 else 0
    with plot_figure(figure.title, 2.8 + 0.18 * lines) as plot:
        axes = plot.axes[0]
        if figure.mark is not None:
            axes.axvline(figure.mark, color=SOFT, linewidth=0.8, linestyle=":")
        front = 0
        for place, series in enumerate(figure.series):
            pale = place > 0 and any(word in series.label for word in ("random", "control"))
            colour = BAND if pale else COLOURS[front % len(COLOURS)]
            front += not pale
            if figure.kind == "bars":
                few = len(series.x) <= _NAMED_BARS  # each stands over its own value, at equal distances
                axes.bar([f"{x:g}" for x in series.x] if few else series.x, series.y, color=colour, label=series.label)
                continue
            axes.plot(
                series.x, series.y, marker="o", markersize=3, linewidth=1 if pale else 1.8, color=colour,
                label=series.label, zorder=1 if pale else 3,
            )  # fmt: skip
            if series.low and series.high:
                axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.15, linewidth=0)
        if figure.kind == "bars":
            axes.axhline(0, color=INK, linewidth=0.6)
        axes.set(xlabel=figure.x, ylabel=figure.y)
        axes.set_title(figure.title, loc="left", fontsize=9, fontweight="bold")
        axes.grid(axis="x", visible=False)
        if len(figure.series) > 1:
            plot.canvas.legend(fontsize=8, loc="outside lower left", ncols=2)
        return plot.svg()


def write_report(report: AuditReport, out: Path) -> Path:
    """Write the HTML to `out` and the JSON beside it; returns the JSON's path."""
    page = render_report(report)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_suffix(".json")
    write_atomic(beside, dump_json(report.to_json(), indent=1) + b"\n")
    write_atomic(out, page)
    return beside
