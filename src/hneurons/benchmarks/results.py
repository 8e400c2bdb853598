"""From recorded outcomes to rates, slopes and paired differences, with what could not be scored beside them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from hneurons.benchmarks.runner import BenchmarkRun
from hneurons.core.errors import ArtifactError
from hneurons.core.records import Record
from hneurons.core.stats import (
    Estimate,
    Floats,
    bootstrap_means,
    column_means,
    percentile_interval,
    slope_weights,
    wilson,
)

RESULTS = "results.json"
_UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"), 0)


@dataclass(frozen=True, slots=True)
class AlphaResult:
    """One condition at one alpha: rate over scored items (Wilson interval), and why the others have no outcome.

    change: rate minus the no-op's, over items scored at both, paired bootstrap; gained, lost: items whose outcome went
    from 0 to 1 and from 1 to 0. perplexity: where texts were scored, over all their tokens.
    """

    alpha: float
    rate: Estimate
    unscored: dict[str, int]
    truncated: int
    change: Estimate
    gained: int
    lost: int
    perplexity: float | None = None

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """The value `to_json` of a result wrote."""
        return cls(**{**row, "rate": _estimate(row["rate"]), "change": _estimate(row["change"])})


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """One neuron set over all alphas; slope: least squares, per unit of alpha, over items scored at every alpha."""

    name: str
    kind: str
    alphas: tuple[AlphaResult, ...]
    slope: Estimate

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """The value `to_json` of a result wrote."""
        return cls(row["name"], row["kind"], tuple(map(AlphaResult.from_json, row["alphas"])), _estimate(row["slope"]))


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What a run shows. Rates and differences are fractions; times 100 they are percent and percentage points.

    above_controls: selected minus the mean of the controls at each alpha, over items scored in all of them;
    slope_above_controls: the same for the slope; controls_below: controls with a smaller slope than the selected set.
    """

    benchmark: str
    outcome: str
    judge: str
    items: int
    max_tokens: int | None
    conditions: tuple[ConditionResult, ...]
    above_controls: dict[str, Estimate]
    slope_above_controls: Estimate
    controls_below: int
    controls: int

    @property
    def selected(self) -> ConditionResult:
        return next(c for c in self.conditions if not c.kind.startswith("random"))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """The value `to_json` wrote."""
        values = {
            **row,
            "conditions": tuple(map(ConditionResult.from_json, row["conditions"])),
            "above_controls": {alpha: _estimate(gap) for alpha, gap in row["above_controls"].items()},
            "slope_above_controls": _estimate(row["slope_above_controls"]),
        }
        return cls(**values)


def _estimate(row: Mapping[str, Any]) -> Estimate:
    """An estimate whose unknown numbers were written as null."""
    value, low, high = (float("nan") if row[name] is None else row[name] for name in ("value", "low", "high"))
    return Estimate(value, low, high, row["n"])


class Sweep(NamedTuple):
    """What was scaled, and the results by benchmark."""

    about: dict[str, Any]
    results: dict[str, BenchmarkResult]


def load_sweep(folder: Path) -> Sweep:
    """The results a sweep left in its folder. Raises `ArtifactError` where they are damaged."""
    path = folder / RESULTS
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        found = {name: BenchmarkResult.from_json(value) for name, value in row["benchmarks"].items()}
        return Sweep(dict(row["about"]), found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}): run 'bench' again, it reads its finished records") from error


def summarize_run(run: BenchmarkRun) -> BenchmarkResult:
    """Rates, slopes and differences of a run; 10,000 resamples of whole items."""
    settings, no_op = run.settings, run.settings.no_op
    ids = list(dict.fromkeys(record.id for record in run.records))
    by_condition: dict[str, list[Record]] = {}
    for record in run.records:
        by_condition.setdefault(record.condition, []).append(record)
    tables = {name: _table(records, ids) for name, records in by_condition.items()}
    conditions = tuple(
        _condition(name, settings.conditions[name].kind, by_condition[name], *tables[name], no_op=no_op)
        for name in by_condition
    )
    selected = next(c for c in conditions if not c.kind.startswith("random"))
    controls = [c for c in conditions if c.kind.startswith("random")]
    alphas, own = tables[selected.name]
    gaps, slope_gap = _above(alphas, own, [tables[c.name][1] for c in controls])
    return BenchmarkResult(
        benchmark=settings.benchmark,
        outcome=settings.outcome,
        judge=run.judge,
        items=len(ids),
        max_tokens=settings.max_tokens,
        conditions=conditions,
        above_controls=gaps,
        slope_above_controls=slope_gap,
        controls_below=sum(c.slope.value < selected.slope.value for c in controls),
        controls=len(controls),
    )


def _table(records: Sequence[Record], ids: Sequence[str]) -> tuple[tuple[float, ...], Floats]:
    """Alphas, and outcomes [items, alphas] with NaN where unscored."""
    alphas = tuple(sorted({record.alpha for record in records}))
    rows, columns = {item: n for n, item in enumerate(ids)}, {alpha: n for n, alpha in enumerate(alphas)}
    values = np.full((len(ids), len(alphas)), np.nan)
    for record in records:
        if record.outcome is not None:
            values[rows[record.id], columns[record.alpha]] = record.outcome
    return alphas, values


def _contrast(values: Floats, weights: Floats) -> Estimate:
    """A linear function of the column means with a bootstrap interval, over rows known in every column used."""
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known) or not np.isfinite(weights).all():
        return _UNKNOWN
    return percentile_interval(float(column_means(known) @ weights), bootstrap_means(known) @ weights, len(known))


def _slope(alphas: Sequence[float], values: Floats) -> Estimate:
    return _contrast(values, slope_weights(alphas)) if len(alphas) > 1 else _UNKNOWN


def _condition(
    name: str, kind: str, records: Sequence[Record], alphas: tuple[float, ...], values: Floats, *, no_op: float
) -> ConditionResult:
    base = values[:, alphas.index(no_op)]
    results = []
    for column, alpha in enumerate(alphas):
        here = [record for record in records if record.alpha == alpha]
        mine = values[:, column]
        known = mine[np.isfinite(mine)]
        binary = bool(np.isin(known, (0.0, 1.0)).all())
        rate = wilson(int(known.sum()), len(known)) if binary else _contrast(mine[:, None], np.ones(1))
        results.append(
            AlphaResult(
                alpha=alpha,
                rate=rate,
                unscored=dict(sorted(Counter(r.error or "no reason given" for r in here if r.outcome is None).items())),
                truncated=sum(record.finish_reason == "length" for record in here),
                change=_contrast(np.stack([base, mine], 1), np.array([-1.0, 1.0])),
                gained=int(((base == 0) & (mine == 1)).sum()),
                lost=int(((base == 1) & (mine == 0)).sum()),
                perplexity=_perplexity(here),
            )
        )
    return ConditionResult(name, kind, tuple(results), _slope(alphas, values))


def _perplexity(records: Sequence[Record]) -> float | None:
    scored = [(record.loglik[0], record.n_tokens or 0) for record in records if record.loglik]
    tokens = sum(count for _, count in scored)
    return float(np.exp(-sum(value for value, _ in scored) / tokens)) if tokens else None


def _above(
    alphas: tuple[float, ...], selected: Floats, controls: Sequence[Floats]
) -> tuple[dict[str, Estimate], Estimate]:
    if not controls:
        return {}, _UNKNOWN
    gaps = selected - np.mean(controls, axis=0)
    by_alpha = {f"{alpha:g}": _contrast(gaps[:, [n]], np.ones(1)) for n, alpha in enumerate(alphas)}
    return by_alpha, _slope(alphas, gaps)


def results_json(results: Mapping[str, BenchmarkResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """All results of a sweep as plain JSON values (unknown numbers are null), with what the sweep was."""
    row = {"about": dict(about), "benchmarks": {name: result.to_json() for name, result in results.items()}}
    plain: dict[str, Any] = _known(row)
    return plain


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
