"""Who moves: items that always, never or sometimes show the outcome over the alphas, and how they switch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hneurons.audits.panels import Panel, build_panels
from hneurons.audits.results import AUDITS, AuditResult, Collector, Figure, Series, percent
from hneurons.audits.verdicts import Verdict, judge_above
from hneurons.core.stats import wilson
from hneurons.records.recorded_run import Run, outcome_runs

_ENOUGH = 20
_OTHERWISE = 0.05


@dataclass(frozen=True)
class Populations:
    """Counts of items known at every alpha. `first_switch[alpha]`: items whose outcome first changes there."""

    n: int
    always: int
    never: int
    up: int
    down: int
    non_monotone: int
    first_switch: dict[float, int]
    incomplete: int

    @property
    def swing(self) -> int:
        return self.up + self.down + self.non_monotone

    @property
    def frozen(self) -> int:
        return self.always + self.never


def count_populations(panel: Panel) -> Populations:
    """Sort the items of a yes/no panel by their path over the alphas: one switch up, one down, or several."""
    values = panel.complete
    total = values.sum(axis=1)
    steps = np.diff(values, axis=1)
    switches = (steps != 0).sum(axis=1)
    net = steps.sum(axis=1)
    first = np.argmax(steps != 0, axis=1)[switches > 0] + 1
    return Populations(
        n=len(values),
        always=int((total == len(panel.alphas)).sum()),
        never=int((total == 0).sum()),
        up=int(((switches == 1) & (net > 0)).sum()),
        down=int(((switches == 1) & (net < 0)).sum()),
        non_monotone=int((switches > 1).sum()),
        first_switch={panel.alphas[place]: int((first == place).sum()) for place in range(1, len(panel.alphas))},
        incomplete=len(panel.values) - len(values),
    )


@AUDITS.register("populations")
def audit_populations(runs: Sequence[Run]) -> AuditResult:
    """Always, never and swing items, when they first switch, and whether conditions share their items."""
    found = Collector("populations", runs)
    for run in outcome_runs(runs):
        panels = {n: p for n, p in build_panels(run).items() if p.is_binary and len(p.alphas) > 1}
        counted = {name: count_populations(panel) for name, panel in panels.items()}
        for name, counts in counted.items():
            _tabulate(found, run, name, counts)
        for name in run.selected():
            if name in counted and counted[name].n:
                _judge(found, run, panels, counted, name)
    _compare_items(found, outcome_runs(runs))
    return found.result("yes/no outcomes at two or more alphas")


def _tabulate(found: Collector, run: Run, name: str, counts: Populations) -> None:
    cells: dict[str, Any] = {
        "n": counts.n, "always": counts.always, "never": counts.never, "swing": counts.swing,
        "frozen": wilson(counts.frozen, counts.n), "up": counts.up, "down": counts.down,
        "non_monotone": counts.non_monotone, "incomplete": counts.incomplete,
        "first_switch": {f"{alpha:g}": n for alpha, n in counts.first_switch.items()},
    }  # fmt: skip
    found.row("populations", run=run.name, condition=name, **cells)


def _judge(found: Collector, run: Run, panels: dict[str, Panel], counted: dict[str, Populations], name: str) -> None:
    counts = counted[name]
    frozen = wilson(counts.frozen, counts.n)
    figure = f"first switch:{run.name}:{name}"
    found.figures[figure] = Figure(
        f"{run.name}: first switch of {counts.swing} swing items", "alpha", "items",
        (Series(name, tuple(counts.first_switch), tuple(float(v) for v in counts.first_switch.values())),), "bars",
    )  # fmt: skip
    found.find(
        run.name,
        f"The effect of {name} is broad: most items move",
        judge_above(wilson(counts.swing, counts.n), 0.5),
        f"{percent(frozen)} of the items never move: {counts.always} always, {counts.never} never, {counts.swing} "
        f"swing ({counts.incomplete} items lack an alpha and are left out).",
        figure=figure, frozen=frozen,
    )  # fmt: skip
    if counts.swing >= _ENOUGH:
        found.find(
            run.name,
            f"Items that move under {name} move one way",
            _one_way(counts),
            f"Of {counts.swing} swing items {counts.up} switch once up, {counts.down} once down, "
            f"{counts.non_monotone} more than once: the net change hides movement both ways.",
            up=counts.up, down=counts.down, non_monotone=counts.non_monotone,
        )  # fmt: skip
    controls = {
        other: count_populations(panels[other].select(panels[other].ids, shared))
        for other in run.controls_of(name)
        if other in panels and len(shared := [a for a in panels[name].alphas if a in panels[other].alphas]) > 1
    }
    if controls:
        shared = [a for a in panels[name].alphas if all(a in panels[o].alphas for o in controls)]
        own = count_populations(panels[name].select(panels[name].ids, shared)).swing
        others = {other: c.swing for other, c in controls.items()}
        found.find(
            run.name,
            f"More items move under {name} than under random controls",
            _beside(own, list(others.values())),
            f"{own} swing items at the shared alphas against {min(others.values())} to {max(others.values())} "
            f"for {len(others)} control sets.",
            own=own, controls=others,
        )  # fmt: skip


def _one_way(counts: Populations) -> Verdict:
    """At most one item in twenty may move otherwise."""
    other = wilson(counts.down + counts.non_monotone, counts.swing)
    return "contradicted" if other.low > _OTHERWISE else "supported" if other.value <= _OTHERWISE else "not shown"


def _beside(own: int, others: Sequence[int]) -> Verdict:
    return "supported" if own > max(others) else "contradicted" if own < min(others) else "not shown"


def _compare_items(found: Collector, runs: Sequence[Run]) -> None:
    """Rates of one benchmark over different items differ before anything is scaled."""
    places: dict[tuple[str, str], dict[frozenset[str], list[tuple[str, float, int]]]] = {}
    for run in runs:
        for name, panel in build_panels(run).items():
            if run.settings.no_op in panel.alphas:
                rate = float(panel.means[panel.at(run.settings.no_op)])
                groups = places.setdefault((run.settings.benchmark, run.settings.outcome), {})
                groups.setdefault(frozenset(panel.ids), []).append((f"{run.name}/{name}", rate, len(panel.ids)))
    for (benchmark, outcome), groups in places.items():
        members = [members[0] for members in groups.values()]
        if sum(len(m) for m in groups.values()) < 2:
            continue
        shown = "; ".join(f"{name} {100 * rate:.1f} % (n={n})" for name, rate, n in members)
        spread = max(rate for _, rate, _ in members) - min(rate for _, rate, _ in members)
        found.find(
            ", ".join(dict.fromkeys(name.split("/")[0] for m in groups.values() for name, _, _ in m)),
            f"Conditions of {benchmark} ({outcome}) are compared on the same items",
            len(groups) == 1,
            f"{len(groups)} different sets of items; {outcome} at the no-op, one condition of each set: {shown}. "
            f"{100 * spread:.1f} pp between sets come from the items alone.",
            item_sets=len(groups), spread=spread,
        )  # fmt: skip
