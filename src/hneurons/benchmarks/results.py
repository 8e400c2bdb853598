"""From recorded outcomes to rates, slopes and paired differences, with what could not be scored beside them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hneurons.benchmarks.runner import NO_OP, BenchmarkRun
from hneurons.core.missing import Bounds, reweighted, worst_and_best
from hneurons.core.rows import Row, from_row
from hneurons.core.showing import one_line
from hneurons.core.stats import (
    Estimate,
    Floats,
    bootstrap_means,
    bounded_interval,
    column_means,
    slope_weights,
    wilson,
)
from hneurons.core.wording import count, points
from hneurons.records.record import NOT_ASKED, Record

_UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"), 0)
Groups = NDArray[np.int64]
"""The number of each item's group; items that belong to none have one of their own."""


@dataclass(frozen=True, slots=True)
class AlphaResult(Row):
    """One condition at one alpha: rate over scored items, which are of `groups` groups, and why the others have none.

    - `rate`: has a Wilson interval, or one of whole groups resampled where items share them.
    - `change`: the rate minus the no-op's, over items scored at both, by paired bootstrap.
    - `gained`, `lost`: items whose outcome went from 0 to 1 and from 1 to 0.
    - `perplexity`: where texts were scored, over all their tokens.
    - `bounds`: the least and the largest rate there could be, had all replies an outcome; None where all have one.
    """

    alpha: float
    rate: Estimate
    groups: int
    unscored: dict[str, int]
    truncated: int
    change: Estimate
    gained: int
    lost: int
    perplexity: float | None = None
    bounds: Bounds | None = None


@dataclass(frozen=True, slots=True)
class ConditionResult(Row):
    """One neuron set over all alphas.

    - `slope`: least squares, per unit of alpha, over items scored at every alpha.
    - `slope_bounds`: the least and the largest slope over all items, whatever the unscored replies hold.
    - `slope_weighted`: as `reweighted`, items being alike that had the same outcome at the no-op.

    The last two are None where every item asked was scored at every alpha.
    """

    name: str
    kind: str
    alphas: tuple[AlphaResult, ...]
    slope: Estimate
    slope_bounds: Bounds | None = None
    slope_weighted: Estimate | None = None


@dataclass(frozen=True, slots=True)
class AgainstControls(Row):
    """The selected set beside the random sets of one kind.

    - `above_controls`: selected minus the mean of the controls at each alpha, over items scored in all of them.
    - `slope_above_controls`: the same for the slope.
    - `controls_below`: how many controls have a smaller slope than the selected set.
    """

    kind: str
    controls: int
    controls_below: int
    above_controls: dict[str, Estimate]
    slope_above_controls: Estimate


@dataclass(frozen=True, slots=True)
class BenchmarkResult(Row):
    """What a run shows. Rates and differences are fractions; times 100 they are percent and percentage points.

    - `groups`: how many groups the items are of, as many as items where none belong together. Whole groups are
      resampled.
    - `against`: the comparison with random neurons, for each kind of them on its own.
    - `known_error`: a sentence about how often the judge is wrong; empty where nothing is known of it.
    """

    benchmark: str
    outcome: str
    judge: str
    items: int
    groups: int
    max_tokens: int | None
    conditions: tuple[ConditionResult, ...]
    against: tuple[AgainstControls, ...]
    no_op: float = NO_OP
    known_error: str = ""

    def __repr__(self) -> str:
        done = f"{self.outcome} of {count(self.items, 'item')}", f"{count(len(self.conditions), 'condition')}"
        return one_line(self, self.benchmark, *done, f"slope {points(self.selected.slope, unit=' pp')} per alpha")

    @property
    def selected(self) -> ConditionResult:
        return next(c for c in self.conditions if not c.kind.startswith("random"))

    def controls(self, kind: str) -> list[ConditionResult]:
        """The random sets of one kind."""
        return [c for c in self.conditions if c.kind.startswith("random") and control_kind(c.kind) == kind]

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """The value that `to_row` wrote. Raises `ValueError` where its parts do not belong together."""
        found = from_row(cls, row)
        _check(found)
        return found


def _check(result: BenchmarkResult) -> None:
    """Raises `ValueError` where a number, an alpha or a condition that pages rely on is missing."""
    cells = [at for condition in result.conditions for at in condition.alphas]
    if not all(np.isfinite(at.alpha) for at in cells):
        raise ValueError("an alpha is no number")
    if all(condition.kind.startswith("random") for condition in result.conditions):
        raise ValueError("it has no selected condition")
    alphas = [at.alpha for at in result.selected.alphas]
    if result.no_op not in alphas or any([at.alpha for at in c.alphas] != alphas for c in result.conditions):
        raise ValueError(f"its conditions are not all at the same alphas, {result.no_op:g} among them")
    changing = {f"{alpha:g}" for alpha in alphas if alpha != result.no_op}
    for one in result.against:
        drawn = len(result.controls(one.kind))
        if not 0 < one.controls == drawn or changing - set(one.above_controls):
            raise ValueError(f"its comparison with {one.kind} sets is not whole")


def control_kind(kind: str) -> str:
    """The kind of control in a condition's kind: layer_matched of random_layer_matched."""
    return kind.removeprefix("random").lstrip("_") or "random"


def summarize_run(run: BenchmarkRun) -> BenchmarkResult:
    """Rates, slopes and differences of a run; 10,000 resamples of whole items, or of whole groups of them."""
    settings, no_op = run.settings, run.settings.no_op
    ids = list(dict.fromkeys(record.id for record in run.records))
    groups, asked = _groups(run.records, ids), _asked(run.records, ids)
    by_condition: dict[str, list[Record]] = {}
    for record in run.records:
        by_condition.setdefault(record.condition, []).append(record)
    tables = {name: _table(records, ids) for name, records in by_condition.items()}
    conditions = tuple(
        _condition(name, settings.conditions[name].kind, records, *tables[name], groups, asked, no_op=no_op)
        for name, records in by_condition.items()
    )
    selected = next(c for c in conditions if not c.kind.startswith("random"))
    kinds: dict[str, list[ConditionResult]] = {}
    for condition in conditions:
        if condition.kind.startswith("random"):
            kinds.setdefault(control_kind(condition.kind), []).append(condition)
    return BenchmarkResult(
        benchmark=settings.benchmark,
        outcome=settings.outcome,
        judge=run.judge,
        items=len(ids),
        groups=len(np.unique(groups)),
        max_tokens=settings.max_tokens,
        conditions=conditions,
        against=tuple(
            AgainstControls(
                kind,
                len(controls),
                sum(c.slope.value < selected.slope.value for c in controls),
                *_above(*tables[selected.name], [tables[c.name][1] for c in controls], groups, no_op=no_op),
            )
            for kind, controls in kinds.items()
        ),
        no_op=no_op,
        known_error=run.known_error,
    )


def _groups(records: Sequence[Record], ids: Sequence[str]) -> Groups:
    named = {record.id: record.group for record in records if record.group is not None}
    numbers: dict[tuple[bool, str], int] = {}
    owners = [(item in named, named.get(item, item)) for item in ids]
    return np.array([numbers.setdefault(owner, len(numbers)) for owner in owners], dtype=np.int64)


def _table(records: Sequence[Record], ids: Sequence[str]) -> tuple[tuple[float, ...], Floats]:
    """Alphas, and outcomes [items, alphas] with NaN where unscored."""
    alphas = tuple(sorted({record.alpha for record in records}))
    rows, columns = {item: n for n, item in enumerate(ids)}, {alpha: n for n, alpha in enumerate(alphas)}
    values = np.full((len(ids), len(alphas)), np.nan)
    for record in records:
        if record.outcome is not None:
            values[rows[record.id], columns[record.alpha]] = record.outcome
    return alphas, values


def _contrast(
    values: Floats, weights: Floats, groups: Groups, *, least: float = 0.0, fixed: int | None = None
) -> Estimate:
    """A linear function of the column means with a bootstrap interval, over rows known in every column used.

    Columns hold values from `least` to 1: 0 for outcomes, -1 for differences. The column `fixed` is 0 by construction.
    """
    rows = np.isfinite(values).all(axis=1)
    known, own = values[rows], groups[rows]
    if not len(known) or not np.isfinite(weights).all():
        return _UNKNOWN
    units = len(np.unique(own))
    draws = bootstrap_means(known, groups=own.tolist() if units < len(known) else None) @ weights
    ends = np.stack([weights * least, weights])
    if fixed is not None:
        ends[:, fixed] = 0.0
    return bounded_interval(
        float(column_means(known) @ weights), draws, len(known), units=units,
        lowest=float(ends.min(0).sum()), highest=float(ends.max(0).sum()),
    )  # fmt: skip


def _slope(
    alphas: Sequence[float], values: Floats, groups: Groups, *, least: float = 0.0, fixed: int | None = None
) -> Estimate:
    if len(alphas) < 2:
        return _UNKNOWN
    return _contrast(values, slope_weights(alphas), groups, least=least, fixed=fixed)


def _condition(
    name: str,
    kind: str,
    records: Sequence[Record],
    alphas: tuple[float, ...],
    values: Floats,
    groups: Groups,
    asked: NDArray[np.bool_],
    *,
    no_op: float,
) -> ConditionResult:
    base = values[:, alphas.index(no_op)]
    results = []
    for column, alpha in enumerate(alphas):
        here = [record for record in records if record.alpha == alpha]
        mine = values[:, column]
        known = mine[np.isfinite(mine)]
        units = len(np.unique(groups[np.isfinite(mine)]))
        alone = bool(np.isin(known, (0.0, 1.0)).all()) and units == len(known)
        both = np.stack([base, mine], 1)
        results.append(
            AlphaResult(
                alpha=alpha,
                rate=wilson(int(known.sum()), units) if alone else _contrast(mine[:, None], np.ones(1), groups),
                groups=units,
                unscored=dict(sorted(Counter(_why(r) for r in here if r.outcome is None).items())),
                truncated=sum(record.finish_reason == "length" for record in here),
                change=_same(mine) if alpha == no_op else _contrast(both, np.array([-1.0, 1.0]), groups),
                gained=int(((base == 0) & (mine == 1)).sum()),
                lost=int(((base == 1) & (mine == 0)).sum()),
                perplexity=_perplexity(here),
                bounds=None if _whole(mine[asked]) else worst_and_best(mine[asked][:, None], np.ones(1)),
            )
        )
    slope = _slope(alphas, values, groups)
    if len(alphas) < 2 or _whole(values[asked]):
        return ConditionResult(name, kind, tuple(results), slope)
    weights, own = slope_weights(alphas), groups[asked]
    return ConditionResult(
        name, kind, tuple(results), slope, worst_and_best(values[asked], weights),
        reweighted(values[asked], weights, alphas.index(no_op),
                   groups=own.tolist() if len(np.unique(own)) < len(own) else None),
    )  # fmt: skip


def _why(record: Record) -> str:
    """Why a reply has no outcome, in words that many replies share: not with the probability of each."""
    reason = record.error or "no reason given"
    return "undecided" if reason.startswith("right with a probability of") else reason


def _asked(records: Sequence[Record], ids: Sequence[str]) -> NDArray[np.bool_]:
    """Which items belong to what is measured."""
    apart = {record.id for record in records if record.outcome is None and record.error == NOT_ASKED}
    return np.array([item not in apart for item in ids], dtype=bool)


def _whole(values: Floats) -> bool:
    return bool(np.isfinite(values).all())


def _same(values: Floats) -> Estimate:
    """The difference of a run to itself: 0, of which nothing is left to chance."""
    count = int(np.isfinite(values).sum())
    return Estimate(0.0, 0.0, 0.0, count) if count else _UNKNOWN


def _perplexity(records: Sequence[Record]) -> float | None:
    scored = [(record.loglik[0], record.n_tokens or 0) for record in records if record.loglik]
    tokens = sum(count for _, count in scored)
    return float(np.exp(-sum(value for value, _ in scored) / tokens)) if tokens else None


def _above(
    alphas: tuple[float, ...], selected: Floats, controls: Sequence[Floats], groups: Groups, *, no_op: float
) -> tuple[dict[str, Estimate], Estimate]:
    gaps = selected - np.mean(controls, axis=0)
    base = alphas.index(no_op)
    fixed = None if np.nan_to_num(gaps[:, base]).any() else base
    by_alpha = {}
    for column, (mine, alpha) in enumerate(zip(gaps.T, alphas, strict=True)):
        gap = _same(mine) if column == fixed else _contrast(mine[:, None], np.ones(1), groups, least=-1.0)
        by_alpha[f"{alpha:g}"] = gap
    return by_alpha, _slope(alphas, gaps, groups, least=-1.0, fixed=fixed)
