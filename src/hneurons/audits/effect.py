"""Does scaling change the outcome, against what, in which part of the range, and more than random sets do?"""

from collections.abc import Iterable, Sequence

import numpy as np

from hneurons.audits.panels import Panel, build_panels, subtract
from hneurons.audits.results import (
    AUDITS,
    AuditResult,
    Collector,
    Figure,
    Series,
    away_from_zero,
    percent,
    points,
)
from hneurons.audits.verdicts import CHANCE, MARGIN, Verdict, could_see, judge_above
from hneurons.core.missing import worst_and_best
from hneurons.core.stats import Estimate, sign_flip_test
from hneurons.core.wording import count, number
from hneurons.records.recorded_run import Run, outcome_runs

_LOUD_JUMP = 0.02


@AUDITS.register("effect")
def audit_effect(runs: Sequence[Run]) -> AuditResult:
    """Rates, slopes, differences against the no-op and against ablation, and random controls."""
    found = Collector("effect", runs)
    for run in outcome_runs(runs):
        panels = build_panels(run)
        for name, panel in panels.items():
            _tabulate(found, run, name, panel)
        broken = _check_jump(found, run, panels)
        for name in run.selected():
            _find_missing(found, run, panels[name])
            controls = [panels[other] for other in run.controls_of(name)]
            _compare_alphas(found, run, panels[name], no_op_holds=run.condition(name).family not in broken)
            _compare_controls(found, run, panels[name], controls)
            _check_shape(found, run, panels[name])
        _check_no_op(found, run, panels)
        _check_cells(found, run, panels)
    return found.result("outcomes")


def _tabulate(found: Collector, run: Run, name: str, panel: Panel) -> None:
    for alpha in panel.alphas:
        missing = int((~np.isfinite(panel.values[:, panel.at(alpha)])).sum())
        role = "no-op" if alpha == run.settings.no_op else "ablation" if alpha == run.settings.ablation else ""
        count = panel.count(alpha) if panel.is_binary else None
        found.row(
            "rates", run=run.name, condition=name, alpha=alpha, role=role, count=count, rate=panel.rate(alpha),
            unscored=missing,
        )  # fmt: skip
    if len(panel.alphas) < 2:
        return
    no_op = run.settings.no_op
    found.row(
        "slopes", run=run.name, condition=name, kind=run.condition(name).kind, slope=panel.slope(),
        up_to_no_op=panel.slope(high=no_op), from_no_op=panel.slope(low=no_op),
    )  # fmt: skip


def _compare_alphas(found: Collector, run: Run, panel: Panel, *, no_op_holds: bool) -> None:
    """The largest alpha against the no-op and against ablation: two different claims, never one."""
    no_op, ablation, top = run.settings.no_op, run.settings.ablation, panel.alphas[-1]
    figure = f"rates:{run.name}:{panel.condition}"
    pairs = [("amplification", no_op, top, "no-op")]
    if ablation is not None and ablation in panel.alphas:
        pairs.append(("ablation to no-op", ablation, no_op, "ablation"))
        pairs.append(("ablation to maximum", ablation, top, "ablation, not the no-op"))
    for part, low, high, against in pairs:
        outcome = run.settings.outcome
        claim = f"{outcome[:1].upper()}{outcome[1:]} rises with {panel.condition}: {part} (alpha {low:g} to {high:g})"
        if low not in panel.alphas or high not in panel.alphas or low == high:
            lacking = low if low not in panel.alphas else high
            found.find(run.name, claim, None, f"No rows at alpha {lacking:g} to compare within this run.")
            continue
        change = panel.difference(low, high)
        p = sign_flip_test(panel.values[:, panel.at(high)] - panel.values[:, panel.at(low)])
        evidence = (
            f"{percent(panel.rate(low))} to {percent(panel.rate(high))}: {points(change)} against {against}, "
            f"paired by item, permutation p = {p:.4f}."
        )
        grouped = panel.grouped_difference(low, high)
        holds: Verdict | None = judge_above(change, 0.0, *([grouped] if grouped else []))
        if grouped is not None:
            evidence += f" Items share {grouped.n} groups; resampling groups gives {points(grouped)}."
        if holds != "not testable" and (holds == "not shown" or p >= CHANCE):
            holds, evidence = "not shown", evidence + could_see(grouped or change)
        if no_op in (low, high) and not no_op_holds:
            holds, evidence = None, evidence + " But this no-op is off the curve of its own random controls."
        found.find(
            run.name, claim, holds, evidence, figure=figure, headline=against == "no-op",
            difference=change, grouped=grouped, p=p,
        )  # fmt: skip


def _compare_controls(found: Collector, run: Run, panel: Panel, controls: list[Panel]) -> None:
    figure = f"rates:{run.name}:{panel.condition}"
    found.figures[figure] = rate_figure(run, [panel, *controls])
    if len(panel.alphas) < 2:
        return
    claim = f"The slope of {panel.condition} exceeds that of its random controls"
    controls = [c for c in controls if len(set(c.alphas) & set(panel.alphas)) > 1 and set(c.ids) & set(panel.ids)]
    if not controls:
        found.find(
            run.name,
            claim,
            None,
            "The run has no control set scaled by the same alphas on the same items.",
            slope=panel.slope(),
        )
        return
    slopes = [subtract(panel, [control]).slope() for control in controls]
    for control, gap in zip(controls, slopes, strict=True):
        p = sign_flip_test(subtract(panel, [control]).item_slopes())
        found.row("slope_differences", run=run.name, condition=panel.condition, control=control.condition, gap=gap, p=p)
    kinds = ", ".join(sorted({run.condition(control.condition).kind for control in controls}))
    mean_gap = subtract(panel, controls)
    gap, p = mean_gap.slope(), sign_flip_test(mean_gap.item_slopes())
    # Compare like with like: the selected set may have been run at more alphas than its controls.
    own = panel.select(panel.ids, mean_gap.alphas).slope()
    others = [control.select(control.ids, mean_gap.alphas).slope().value for control in controls]
    beaten = sum(own.value > other for other in others)
    rank_p = (1 + len(others) - beaten) / (1 + len(others))
    evidence = (
        f"Slope {points(own, 2)} per alpha; {count(len(others), 'control set')} ({kinds}) from "
        f"{number(100 * min(others), sign=True)} to "
        f"{number(100 * max(others), sign=True)}; difference to their mean {points(gap, 2)}, permutation "
        f"p = {p:.4f} over items. "
        f"Over sets it exceeds {beaten} of {len(others)}: rank p = {rank_p:.3f}, and with so few sets p cannot fall "
        f"below {1 / (1 + len(others)):.3f}."
    )
    holds = judge_above(gap)
    needed = {"supported": len(others), "contradicted": 0}
    if holds != "not testable" and (p >= CHANCE or beaten != needed.get(holds)):
        holds, evidence = "not shown", evidence + could_see(gap, unit=" pp per alpha", digits=2)
    found.find(
        run.name, claim, holds, evidence, figure=figure, headline=True,
        slope=own, controls=others, gap=gap, p=p, rank_p=rank_p,
    )  # fmt: skip


def _check_shape(found: Collector, run: Run, panel: Panel) -> None:
    """A rate that rises and then falls (or the reverse) has no slope worth reporting."""
    ends = panel.alphas[0], panel.alphas[-1]
    turns, steps = [], []
    for inner in panel.alphas[1:-1]:
        before, after = panel.difference(ends[0], inner), panel.difference(inner, ends[1])
        steps += [before, after]
        if before.value * after.value < 0 and away_from_zero(before) and away_from_zero(after):
            turns.append((min(abs(before.value), abs(after.value)), inner, before, after))
    if len(panel.alphas) < 3:
        return
    evidence = "No alpha between the ends lies outside both of them by more than chance."
    if turns:
        _, inner, before, after = max(turns, key=lambda turn: turn[0])
        evidence = f"It turns at alpha {inner:g}: {points(before)} up to there, {points(after)} from there on."
    rough = max(steps, key=lambda step: step.high - step.low)
    holds: Verdict = "contradicted" if turns else "not shown" if rough.high - rough.low > 4 * MARGIN else "supported"
    if holds == "not shown":
        evidence += could_see(rough)
    found.find(run.name, f"One slope describes the curve of {panel.condition}", holds, evidence)


def _check_no_op(found: Collector, run: Run, panels: dict[str, Panel]) -> None:
    """All conditions are the same model at the no-op: what differs there is the noise of the measurement itself."""
    no_op = run.settings.no_op
    same = {name: panel for name, panel in panels.items() if no_op in panel.alphas}
    if len(same) > 1:
        first = next(iter(same.values()))
        columns = {name: p.select(first.ids, [no_op]).values[:, 0] for name, p in same.items()}
        reference = columns[first.condition]
        known = {n: np.isfinite(c) & np.isfinite(reference) for n, c in columns.items()}
        moved = {n: int((c != reference)[known[n]].sum()) for n, c in columns.items() if n != first.condition}
        counts = {name: panel.count(no_op) for name, panel in same.items()}
        top = first.alphas[-1]
        worst = max(abs(first.select(first.ids, [no_op]).means[0] - same[n].means[same[n].at(no_op)]) for n in moved)
        effect = abs(first.difference(no_op, top).value) if top != no_op else float("nan")
        found.find(
            run.name,
            "Conditions give the same outcomes at the no-op, where they are the same model",
            max(moved.values()) == 0,
            f"At alpha {no_op:g} the outcomes of {len(columns)} conditions differ from {first.condition} in "
            f"{max(moved.values())} of {len(first.ids)} items at most (counts {_list(sorted(set(counts.values())))}). "
            f"Rates differ by up to {100 * worst:.1f} pp without any change to the model; the change from no-op to "
            f"alpha {top:g} is {100 * effect:.1f} pp. {_blame(run, list(same)) if max(moved.values()) else ''}",
            moved=moved, counts=counts, worst=worst,
        )  # fmt: skip


def _blame(run: Run, names: list[str]) -> str:
    """Whether differences at the no-op come from generation (other texts) or from the judge (same texts)."""
    texts: dict[str, set[object]] = {}
    for r in run.records:
        if r.alpha == run.settings.no_op and r.condition in names:
            known = r.digest or r.response or r.chars
            if known is not None:
                texts.setdefault(r.id, set()).add(known)
    if not texts:
        return "Texts, digests and lengths are not recorded."
    same = sum(len(seen) == 1 for seen in texts.values())
    cause = "the judge" if same > len(texts) / 2 else "the generation, which does not repeat itself"
    return f"Texts (or their lengths) agree in {same} of {len(texts)} items: what differs is mostly {cause}."


def _check_jump(found: Collector, run: Run, panels: dict[str, Panel]) -> set[str]:
    """A rate that is out of line at the no-op alone shows that the no-op skips part of the intervention's path.

    Returns the families whose random controls show it: there nothing can be compared with the no-op.
    """
    no_op, broken = run.settings.no_op, set()
    for family in dict.fromkeys(condition.family for condition in run.conditions.values()):
        jumps = {}
        for name, panel in panels.items():
            inner = no_op in panel.alphas and panel.alphas[0] < no_op < panel.alphas[-1]
            if run.condition(name).family == family and inner:
                jumps[name] = _jump(panel, panel.at(no_op))
        if not jumps:
            continue
        largest = max(jumps.values(), key=lambda jump: abs(jump.value))
        loud = [name for name, jump in jumps.items() if away_from_zero(jump) and abs(jump.value) > _LOUD_JUMP]
        holds = not any(run.condition(name).is_control for name in loud)
        if not holds:
            broken.add(family)
        tight = all(jump.high - jump.low <= 4 * MARGIN for jump in jumps.values())
        found.find(
            run.name,
            f"The no-op lies on the curve of its own family{f' ({family})' if family else ''}",
            holds and ("supported" if tight else "not shown"),
            f"Rate at the no-op minus the line between its two neighbours: at most {points(largest)}; more than "
            f"{100 * _LOUD_JUMP:.0f} pp and away from 0 in {len(loud)} of {len(jumps)} conditions"
            + ("" if holds else ", random controls among them: scaling by anything but the no-op changes the model")
            + ".",
            jumps=jumps,
        )
    return broken


def _jump(panel: Panel, place: int) -> Estimate:
    left, here, right = panel.alphas[place - 1 : place + 2]
    share = (here - left) / (right - left)
    weights = np.array([-(1 - share), 1.0, -share])
    return panel._contrast(weights, [place - 1, place, place + 1])


def _find_missing(found: Collector, run: Run, panel: Panel) -> None:
    """Whether what has no outcome could undo the change from the first alpha to the last, and what its slope could be.

    Beside the slope over all scored cells stand that of the items scored at every alpha, its bounds, and the slope in
    which scored cells stand for unscored ones of items with the same outcome at the no-op.
    """
    asked = panel.asked
    if len(panel.alphas) < 2 or np.isfinite(asked.values).all():
        return
    ends = np.zeros(len(panel.alphas))
    ends[0], ends[-1] = -1.0, 1.0
    if not asked.is_share:
        return
    slopes = asked.slope_readings(run.settings.no_op)
    found.row("slopes_with_missing", run=run.name, condition=panel.condition, **slopes._asdict())
    change, (low, high) = asked.difference(panel.alphas[0], panel.alphas[-1]), worst_and_best(asked.values, ends)
    holds: Verdict = "not shown"
    if away_from_zero(change) and low * high > 0:
        holds = "supported"
    complete, weighted, (least, most) = slopes
    lost = ", ".join(f"{a:g}: {int(n)}" for a, n in zip(panel.alphas, (~np.isfinite(asked.values)).sum(0), strict=True))
    found.find(
        run.name,
        f"What has no outcome could not undo the change under {panel.condition}",
        holds,
        f"Without outcome, of {len(asked.ids)} items, by alpha: {lost}. Alpha {panel.alphas[0]:g} to "
        f"{panel.alphas[-1]:g} is {points(change)} as scored, and from {number(100 * low, 1, sign=True)} to "
        f"{number(100 * high, 1, sign=True)} pp whatever the rest holds. Slope per alpha: {points(complete, 2)} over "
        f"items scored at every alpha, {points(weighted, 2)} weighted by what is scored, within "
        f"{number(100 * least, 2, sign=True)} to {number(100 * most, 2, sign=True)} pp in any case.",
        bounds=(low, high), slopes=slopes._asdict(),
    )  # fmt: skip


def _check_cells(found: Collector, run: Run, panels: dict[str, Panel]) -> None:
    """Every alpha of every condition must rest on the same items."""
    missing = {
        f"{name} at {alpha:g}": int((~np.isfinite(panel.values[:, panel.at(alpha)])).sum())
        for name, panel in panels.items()
        for alpha in panel.alphas
    }
    lacking = {cell: n for cell, n in missing.items() if n}
    errors: dict[str, int] = {}
    for record in run.records:
        if record.error:
            errors[record.error] = errors.get(record.error, 0) + 1
    total = sum(len(panel.ids) * len(panel.alphas) for panel in panels.values())
    found.find(
        run.name,
        "Every rate rests on the same items, all scored",
        not lacking,
        f"{sum(lacking.values())} of {total} cells have no outcome"
        + (f" ({_list(f'{cell}: {n}' for cell, n in lacking.items())})" if lacking else "")
        + (f"; recorded reasons: {_list(f'{name} {n}' for name, n in errors.items())}." if errors else "."),
        missing=lacking, errors=errors,
    )  # fmt: skip


def _list(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def rate_figure(run: Run, panels: Sequence[Panel]) -> Figure:
    """Rates against alpha with 95% intervals, the first panel in front."""
    series = []
    for panel in panels:
        rates = [panel.rate(alpha) for alpha in panel.alphas]
        low, high = tuple(100 * r.low for r in rates), tuple(100 * r.high for r in rates)
        band = (low, high) if panel is panels[0] else ((), ())
        series.append(Series(panel.condition, panel.alphas, tuple(100 * r.value for r in rates), *band))
    title = f"{run.name}: {run.settings.outcome}"
    label = f"alpha (no-op = {run.settings.no_op:g})"
    return Figure(title, label, f"{run.settings.outcome} (%)", tuple(series), mark=run.settings.no_op)
