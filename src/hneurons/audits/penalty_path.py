"""Which "top neurons" are artefacts of one penalty: ranks along the path, ablation, lone AUROC, correlation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hneurons.audits.results import AUDITS, AuditResult, Collector, Figure, Series
from hneurons.audits.verdicts import judge_above
from hneurons.core.stats import wilson
from hneurons.core.wording import number
from hneurons.records.recorded_run import Run, rows_of
from hneurons.records.rows import NeuronRow, PathPoint

_SHOWN = 10
_WEAK_AUROC = 0.6


class NeuronPath(NamedTuple):
    """One neuron along the path: its weight and rank (1 = largest positive weight, None = not selected) by penalty."""

    layer: int
    neuron: int
    weights: dict[float, float]
    ranks: dict[float, int | None]

    @property
    def selected_share(self) -> float:
        return sum(weight > 0 for weight in self.weights.values()) / len(self.weights)

    @property
    def best_rank(self) -> int | None:
        return min((rank for rank in self.ranks.values() if rank is not None), default=None)


def trace_neurons(points: Sequence[PathPoint]) -> list[NeuronPath]:
    """Every neuron named in the path, best rank first. Ranks are taken from the rows, else from the weights."""
    penalties = sorted({point.penalty for point in points})
    weights: dict[tuple[int, int], dict[float, float]] = {}
    ranks: dict[tuple[int, int], dict[float, int | None]] = {}
    for point in points:
        if point.layer is not None and point.neuron is not None:
            key = (point.layer, point.neuron)
            weights.setdefault(key, dict.fromkeys(penalties, 0.0))[point.penalty] = point.weight or 0.0
            ranks.setdefault(key, dict.fromkeys(penalties))[point.penalty] = point.rank
    for penalty in penalties:
        if all(ranks[key][penalty] is None for key in ranks):
            order = sorted((key for key in weights if weights[key][penalty] > 0), key=lambda k: -weights[k][penalty])
            for place, key in enumerate(order, 1):
                ranks[key][penalty] = place
    paths = [NeuronPath(*key, weights[key], ranks[key]) for key in weights]
    return sorted(paths, key=lambda path: (path.best_rank or 10**9, path.layer, path.neuron))


@AUDITS.register("stability")
def audit_stability(runs: Sequence[Run]) -> AuditResult:
    """Rank and weight of neurons along the penalty path, and what each selected neuron does alone."""
    found = Collector("stability", runs)
    for run, fits in rows_of(runs, PathPoint):
        _audit_path(found, run, fits)
    for run, neurons in rows_of(runs, NeuronRow):
        _audit_neurons(found, run, neurons)
    return found.result("a regularisation path or a table of neurons")


def _audit_path(found: Collector, run: Run, fits: list[PathPoint]) -> None:
    sizes = {p.penalty: p for p in fits}
    penalties = sorted(sizes)
    for penalty in penalties:
        p = sizes[penalty]
        found.row(
            "path", run=run.name, penalty=penalty, nonzero=p.n_nonzero, positive=p.n_positive, accuracy=p.accuracy
        )
    figure = f"path:{run.name}"
    traced = trace_neurons(fits)[:_SHOWN]
    found.figures[figure] = Figure(
        f"{run.name}: weight along the path", "log10 of C", "weight",
        tuple(
            Series(f"L{t.layer}N{t.neuron}", tuple(float(np.log10(p)) for p in penalties),
                   tuple(t.weights[p] for p in penalties))
            for t in traced
        ),
    )  # fmt: skip
    for t in traced:
        found.row("neuron_path", run=run.name, layer=t.layer, neuron=t.neuron, weights=t.weights, ranks=t.ranks)
        absent = [p for p in penalties if t.weights[p] <= 0]
        shown = {f"{p:g}": t.ranks[p] for p in penalties if t.ranks[p] is not None}
        spread = {rank for rank in t.ranks.values() if rank is not None}
        found.find(
            run.name, f"L{t.layer}N{t.neuron} is a top neuron whatever the penalty",
            t.selected_share > 0.5 and len(spread) > 0 and max(spread) <= 3,
            f"Selected in {len(penalties) - len(absent)} of {len(penalties)} fits; rank by penalty: {shown or 'none'}; "
            f"weight 0 at {', '.join(f'{p:g}' for p in absent) or 'none'}.",
            figure=figure, weights={f"{p:g}": w for p, w in t.weights.items()}, ranks=shown,
        )  # fmt: skip
    scored = [(p, sizes[p].accuracy) for p in penalties if sizes[p].accuracy is not None]
    if scored:
        best = max(scored, key=lambda item: item[1] or 0)
        positives = {f"{p:g}": sizes[p].n_positive for p in penalties}
        distinct = len({sizes[p].n_positive for p in penalties if (sizes[p].n_positive or 0) > 0})
        found.find(
            run.name, "The number of selected neurons is a property of the model, not of the penalty", distinct <= 1,
            f"Positive neurons by penalty: {positives}; accuracy is highest ({best[1]}) at {best[0]:g} with "
            f"{sizes[best[0]].n_positive}.", figure=figure, best=best[1], at=best[0],
        )  # fmt: skip


def _audit_neurons(found: Collector, run: Run, rows: list[NeuronRow]) -> None:
    for name in dict.fromkeys(row.condition for row in rows):
        mine = [row for row in rows if row.condition == name]
        layers = len({row.layer for row in mine})
        found.row("neurons", run=run.name, condition=name, n=len(mine), layers=layers)
        both = [r for r in mine if r.truth_d is not None and r.length_d is not None]
        if both:
            longer = wilson(sum(abs(r.length_d or 0) > abs(r.truth_d or 0) for r in both), len(both))
            medians = [float(np.median([abs(v or 0) for v in values]))
                       for values in zip(*((r.truth_d, r.length_d) for r in both), strict=True)]  # fmt: skip
            found.find(
                run.name, f"Neurons respond to truth more than to length{f' ({name})' if name else ''}",
                judge_above(wilson(longer.n - round(longer.value * longer.n), longer.n), 0.5),
                f"{round(longer.value * longer.n)} of {longer.n} respond more to the length of the answer than to its "
                f"truth; median |d| {medians[1]:.2f} for length, {medians[0]:.2f} for truth.", share=longer,
            )  # fmt: skip
        weighted = [row for row in mine if row.weight is not None and row.auroc is not None]
        if weighted and any(row.ablation_drop is not None for row in mine):
            top = max(weighted, key=lambda row: row.weight or 0)
            best = max(weighted, key=lambda row: row.auroc or 0)
            found.find(
                run.name, "The neuron of largest weight carries the detector",
                (top.auroc or 0) >= _WEAK_AUROC and (top.ablation_drop or 0) > 0.02,
                f"L{top.layer}N{top.neuron} has weight {top.weight:.3g}, AUROC {top.auroc:.3f} alone, costs "
                f"{number(100 * (top.ablation_drop or 0), 1)} pp of accuracy when ablated, largest |r| "
                f"{top.max_correlation or 0:.2f}; best alone is L{best.layer}N{best.neuron} with {best.auroc:.3f}.",
            )  # fmt: skip
