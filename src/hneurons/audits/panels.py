"""A panel: the items x alphas table of one condition, from which every rate, difference and slope is taken."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hneurons.core.errors import InputError
from hneurons.core.missing import Bounds, reweighted, worst_and_best
from hneurons.core.stats import (
    Estimate,
    Floats,
    bootstrap_means,
    bounded_interval,
    column_means,
    slope_weights,
    wilson,
)
from hneurons.records.record import NOT_ASKED, Record
from hneurons.records.recorded_run import Run


class SlopeReadings(NamedTuple):
    """A slope per unit of alpha under three readings of what has no outcome; the bounds make no assumption."""

    complete_cases: Estimate
    weighted: Estimate
    bounds: Bounds


@dataclass(frozen=True)
class Panel:
    """Outcomes of one condition: `values[item, alpha]`, NaN where missing or unscored. Ids in recorded order.

    `groups` names items that are not independent (one goal under several templates); empty = every item its own.
    `apart` are items that do not belong to what is measured: their missing outcomes were never missed.
    """

    condition: str
    ids: tuple[str, ...]
    alphas: tuple[float, ...]
    values: Floats
    groups: tuple[str, ...] = ()
    apart: frozenset[str] = frozenset()

    @cached_property
    def means(self) -> Floats:
        """Rate at each alpha over its known items."""
        return column_means(self.values)

    @cached_property
    def draws(self) -> Floats:
        """10,000 paired resamples of `means`, whole items drawn together."""
        return bootstrap_means(self.values)

    @property
    def complete(self) -> Floats:
        """The rows known at every alpha."""
        return np.asarray(self.values[np.isfinite(self.values).all(axis=1)])

    @property
    def is_binary(self) -> bool:
        known = self.values[np.isfinite(self.values)]
        return bool(np.isin(known, (0.0, 1.0)).all())

    def at(self, alpha: float) -> int:
        """Column of an alpha. Raises `InputError` listing the recorded ones."""
        if alpha not in self.alphas:
            known = ", ".join(f"{a:g}" for a in self.alphas)
            raise InputError(f"condition '{self.condition}' has no alpha {alpha:g}: recorded are {known}")
        return self.alphas.index(alpha)

    def count(self, alpha: float) -> int:
        """Items with outcome 1 at an alpha."""
        return int(np.nansum(self.values[:, self.at(alpha)]))

    def rate(self, alpha: float) -> Estimate:
        """Rate at an alpha: Wilson interval for yes/no outcomes, bootstrap for shares."""
        column = self.values[:, self.at(alpha)]
        known = column[np.isfinite(column)]
        if self.is_binary:
            return wilson(int(known.sum()), len(known))
        return self._contrast(np.ones(1), [self.at(alpha)])

    def _contrast(self, weights: Floats, columns: Sequence[int], *, grouped: bool = False) -> Estimate:
        """A weighted sum of rates; where all units are alike, an outcome from 0 to 1 may still be otherwise."""
        used = list(columns)
        draws = bootstrap_means(self.values[:, used], groups=self.groups) if grouped else self.draws[:, used]
        n = len(set(self.groups)) if grouped else int(np.isfinite(self.values[:, used]).any(axis=1).sum())
        point = float(self.means[used] @ weights)
        known = self.values[np.isfinite(self.values)]
        # Outcomes lie from 0 to 1 and differences of two from -1 to 1; of anything else what was seen is the range.
        least = min(float(known.min(initial=0.0)), -1.0 if (known < 0).any() else 0.0)
        ends = np.stack([weights * least, weights * max(float(known.max(initial=1.0)), 1.0)])
        lowest, highest = float(ends.min(axis=0).sum()), float(ends.max(axis=0).sum())
        return bounded_interval(point, draws @ weights, n, units=n, lowest=lowest, highest=highest)

    def difference(self, low: float, high: float) -> Estimate:
        """Rate at `high` minus rate at `low`, paired by item (fraction, not percentage points)."""
        return self._contrast(np.array([-1.0, 1.0]), [self.at(low), self.at(high)])

    def grouped_difference(self, low: float, high: float) -> Estimate | None:
        """As `difference`, with whole groups resampled; None where items are independent."""
        if len(set(self.groups)) in (0, len(self.ids)):
            return None
        return self._contrast(np.array([-1.0, 1.0]), [self.at(low), self.at(high)], grouped=True)

    def slope(self, low: float = -np.inf, high: float = np.inf) -> Estimate:
        """Least-squares slope of the rate on alpha over [low, high]; NaN with fewer than two alphas there."""
        used = [place for place, alpha in enumerate(self.alphas) if low <= alpha <= high]
        if len(used) < 2:
            return Estimate(float("nan"), float("nan"), float("nan"), len(self.ids))
        return self._contrast(slope_weights([self.alphas[place] for place in used]), used)

    @property
    def is_share(self) -> bool:
        """Whether all values lie from 0 to 1, as outcomes do."""
        known = self.values[np.isfinite(self.values)]
        return bool(((known >= 0) & (known <= 1)).all())

    @property
    def asked(self) -> "Panel":
        """The panel without the items that do not belong to what is measured."""
        kept = [row for row, item in enumerate(self.ids) if item not in self.apart]
        groups = tuple(self.groups[row] for row in kept) if self.groups else ()
        return Panel(self.condition, tuple(self.ids[row] for row in kept), self.alphas, self.values[kept], groups)

    def slope_readings(self, no_op: float) -> SlopeReadings:
        """The slope where outcomes are missing: of complete items, weighted as in `reweighted`, and its bounds.

        Outcomes must lie from 0 to 1. Items are alike that have the same outcome at `no_op`, or at the first alpha
        where the no-op was not run.
        """
        weights = slope_weights(self.alphas)
        base = self.alphas.index(no_op) if no_op in self.alphas else 0
        rows = np.isfinite(self.values).all(axis=1)
        complete = Panel(self.condition, tuple(np.array(self.ids)[rows].tolist()), self.alphas, self.values[rows])
        unknown = Estimate(float("nan"), float("nan"), float("nan"), 0)
        return SlopeReadings(
            complete.slope() if rows.any() else unknown,
            reweighted(self.values, weights, base, groups=self.groups or None),
            worst_and_best(self.values, weights),
        )

    def item_slopes(self) -> Floats:
        """Each item's own slope on alpha; NaN where an alpha is missing."""
        return np.asarray(self.values @ slope_weights(self.alphas))

    def select(self, ids: Sequence[str], alphas: Sequence[float] | None = None) -> "Panel":
        """The panel on these items and alphas, in this order; items it lacks become missing rows."""
        places = {item: row for row, item in enumerate(self.ids)}
        wanted = tuple(self.alphas if alphas is None else alphas)
        columns = [self.at(alpha) for alpha in wanted]
        missing = np.full(len(columns), np.nan)
        rows = [self.values[places[item], columns] if item in places else missing for item in ids]
        return Panel(self.condition, tuple(ids), wanted, np.array(rows).reshape(len(ids), len(columns)))


def _outcome(record: Record) -> float | None:
    return record.outcome


def build_panels(run: Run, value: Callable[[Record], float | None] = _outcome) -> dict[str, Panel]:
    """Condition -> panel of `value` (default: the outcome). Order of items and conditions is as recorded."""
    grouped: dict[str, list[Record]] = {}
    for record in run.records:
        grouped.setdefault(record.condition, []).append(record)
    return {name: build_panel(name, records, value) for name, records in grouped.items()}


def build_panel(name: str, records: Sequence[Record], value: Callable[[Record], float | None] = _outcome) -> Panel:
    rows = {item: row for row, item in enumerate(dict.fromkeys(record.id for record in records))}
    alphas = tuple(sorted({record.alpha for record in records}))
    values = np.full((len(rows), len(alphas)), np.nan)
    places = {alpha: column for column, alpha in enumerate(alphas)}
    for record in records:
        number = value(record)
        if number is not None:
            values[rows[record.id], places[record.alpha]] = number
    groups = {record.id: record.group for record in records if record.group is not None}
    apart = frozenset(record.id for record in records if record.outcome is None and record.error == NOT_ASKED)
    own = tuple(groups.get(item, item) for item in rows) if groups else ()
    return Panel(name, tuple(rows), alphas, values, own, apart)


def subtract(selected: Panel, controls: Sequence[Panel]) -> Panel:
    """Selected minus the mean of its controls, item by item, on the items and alphas that all of them have."""
    alphas = [a for a in selected.alphas if all(a in control.alphas for control in controls)]
    shared = set(selected.ids).intersection(*(control.ids for control in controls))
    ids = [item for item in selected.ids if item in shared]
    mean = np.mean([control.select(ids, alphas).values for control in controls], axis=0)
    own = selected.select(ids, alphas)
    return Panel(f"{selected.condition} minus controls", own.ids, own.alphas, own.values - mean)
