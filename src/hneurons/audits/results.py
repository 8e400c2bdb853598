"""What an audit returns: findings with their numbers, tables, and the series a report draws."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from hneurons.audits.verdicts import CHANCE, Verdict, holm
from hneurons.core import wording
from hneurons.core.registry import Registry
from hneurons.core.stats import Estimate
from hneurons.records.recorded_run import Run


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim that must hold for a run to mean what it says, and what the records say about it.

    `numbers` are the figures behind `evidence`, intervals and counts included; `figure` names a series to draw.
    `headline` marks what a run is reported for; the other claims are conditions for it, or incidental. `corrected` is
    the p-value after correction for the number of claims of its kind in the audit, where it has one.
    """

    claim: str
    verdict: Verdict
    evidence: str
    run: str
    numbers: dict[str, Any] = field(default_factory=dict)
    figure: str = ""
    headline: bool = False
    corrected: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a figure; `low` and `high` are its 95% band where known."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """Series over a common x; `mark` is an x to point out (the no-op)."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    kind: Literal["lines", "bars"] = "lines"
    mark: float | None = None


@dataclass(frozen=True, slots=True)
class AuditResult:
    """Findings, tables of numbers and figures of one audit; `problems` name the malformed rows left out."""

    audit: str
    findings: tuple[Finding, ...]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    n_problems: int = 0
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The whole result as plain JSON values; NaN becomes null."""
        plain: dict[str, Any] = to_plain(asdict(self))
        return plain


Audit = Callable[[Sequence[Run]], AuditResult]
AUDITS: Registry[Audit] = Registry("audit")


def to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Estimate):
        return to_plain(asdict(value))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


class Collector:
    """Gathers the findings, tables and figures of one audit over its runs."""

    def __init__(self, audit: str, runs: Sequence[Run]) -> None:
        self.audit, self.runs = audit, runs
        self.findings: list[Finding] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.figures: dict[str, Figure] = {}

    def find(
        self,
        run: str,
        claim: str,
        holds: Verdict | bool | None,
        evidence: str,
        *,
        figure: str = "",
        headline: bool = False,
        **numbers: Any,
    ) -> None:
        """Add a finding. Of what was counted, `holds` is True or False; None means that what it needs is not recorded.

        A number `p` is the p-value of the claim, which is corrected for the number of claims.
        """
        verdict: Verdict = (
            holds if isinstance(holds, str) else "not testable" if holds is None else _COUNTED[bool(holds)]
        )
        self.findings.append(Finding(claim, verdict, evidence, run, to_plain(numbers), figure, headline))

    def row(self, table: str, **cells: Any) -> None:
        self.tables.setdefault(table, []).append(to_plain(cells))

    def result(self, needs: str = "") -> AuditResult:
        """The result; where nothing was found, one finding says what the audit would have needed."""
        if not self.findings:
            names = ", ".join(run.name for run in self.runs)
            self.find(names, f"The {self.audit} audit applies", None, f"No run holds {needs}.")
        self._correct()
        problems = tuple(f"{run.name}: {problem}" for run in self.runs for problem in run.problems)
        count = sum(run.n_problems for run in self.runs)
        return AuditResult(self.audit, tuple(self.findings), self.tables, self.figures, count, problems)

    def _correct(self) -> None:
        """Holm's correction over the headline claims with a p-value, and over the others: none is left out of sight."""
        for headline in (True, False):
            places = [n for n, f in enumerate(self.findings) if f.headline == headline and _p_of(f) is not None]
            corrected = holm([_p_of(self.findings[n]) or 0.0 for n in places])
            for place, p in zip(places, corrected, strict=True):
                self.findings[place] = _corrected(self.findings[place], p, len(places))


_COUNTED: dict[bool, Verdict] = {True: "supported", False: "contradicted"}


def _p_of(finding: Finding) -> float | None:
    p = finding.numbers.get("p")
    return p if isinstance(p, float) and finding.verdict != "not testable" else None


def _corrected(finding: Finding, p: float, claims: int) -> Finding:
    """The finding with its corrected p-value; a verdict that does not survive it becomes "not shown"."""
    if claims == 1:
        return replace(finding, corrected=p)
    kind = "headline" if finding.headline else "incidental"
    verdict: Verdict = finding.verdict if p < CHANCE else "not shown"
    said = f"{finding.evidence} Corrected for {claims} {kind} claims (Holm), p = {p:.4f}."
    return replace(finding, verdict=verdict, evidence=said, corrected=p)


def points(estimate: Estimate, digits: int = 1) -> str:
    """A difference of rates in percentage points, with its interval and n."""
    return f"{wording.points(estimate, digits, unit=' pp')} (n={estimate.n})"


def percent(estimate: Estimate, digits: int = 1) -> str:
    """A rate in per cent, with its interval and n."""
    return f"{wording.percent(estimate, digits, unit=' %')} (n={estimate.n})"


def above_zero(estimate: Estimate) -> bool:
    return estimate.low > 0


def away_from_zero(estimate: Estimate) -> bool:
    return estimate.low > 0 or estimate.high < 0
