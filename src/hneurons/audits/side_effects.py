"""What an effect costs: attempts withheld, precision, multiple-choice gains that do not carry over, shorter answers."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hneurons.audits.panels import Panel, build_panel, build_panels, subtract
from hneurons.audits.results import (
    AUDITS,
    AuditResult,
    Collector,
    Figure,
    Series,
    above_zero,
    away_from_zero,
    percent,
    points,
)
from hneurons.audits.verdicts import CHANCE, Verdict, could_see, judge_above, judge_none
from hneurons.core.stats import Estimate, mcnemar_exact, sign_flip_test, wilson
from hneurons.core.wording import interval, number
from hneurons.records.record import Record
from hneurons.records.recorded_run import Run, outcome_runs
from hneurons.records.scores import multiple_choice_scores

_GRADES = ("CORRECT", "INCORRECT", "NOT_ATTEMPTED")


@AUDITS.register("side_effects")
def audit_side_effects(runs: Sequence[Run]) -> AuditResult:
    """Attempt rate, precision, MC1 and MC2 with McNemar, response length, and how consistent the grades are."""
    found = Collector("side_effects", runs)
    for run in outcome_runs(runs):
        if any(record.grade for record in run.records):
            _audit_grades(found, run)
        if any(record.attempted is not None for record in run.records):
            _find_contradictions(found, run)
        if any(record.loglik for record in run.records):
            _audit_options(found, run)
        elif run.selected() and any(record.key is None and record.outcome is not None for record in run.records):
            _audit_answers(found, run)
        _audit_lengths(found, run)
    return found.result("grades, option log-likelihoods, outcomes or response lengths")


def _audit_grades(found: Collector, run: Run) -> None:
    graded = [record for record in run.records if record.grade]
    cells: dict[tuple[str, float], dict[str, str]] = defaultdict(dict)
    for record in graded:
        cells[(record.condition, record.alpha)][record.id] = record.grade or ""
    for (name, alpha), grades in sorted(cells.items()):
        count = Counter(grades.values())
        attempts = count["CORRECT"] + count["INCORRECT"]
        found.row(
            "grades", run=run.name, condition=name, alpha=alpha, n=len(grades), **{g: count[g] for g in _GRADES},
            attempt_rate=wilson(attempts, len(grades)), correct=wilson(count["CORRECT"], len(grades)),
            precision=wilson(count["CORRECT"], attempts),
        )  # fmt: skip
    for (name, alpha), grades in sorted(cells.items()):
        if alpha != run.settings.no_op and not run.condition(name).is_control:
            _find_attempts(found, run, name, alpha, grades, cells)
    for name in run.selected():
        if [alpha for condition, alpha in cells if condition == name] == [run.settings.no_op]:
            evidence = "Only rows at the no-op are recorded: what was reported at other alphas cannot be checked."
            found.find(run.name, f"{name} leaves attempts and correct answers alone", None, evidence)
    _find_regrades(found, run, graded)


def _find_attempts(
    found: Collector, run: Run, name: str, alpha: float, after: dict[str, str],
    cells: dict[tuple[str, float], dict[str, str]],
) -> None:  # fmt: skip
    """Against the no-op of the same condition, or, named as such, another condition's on the same items."""
    no_op = run.settings.no_op
    own = cells.get((name, no_op))
    other = next((n for (n, a), g in sorted(cells.items()) if a == no_op and set(g) >= set(after)), None)
    before = own or (cells[(other, no_op)] if other else None)
    claim = f"{name} at alpha {alpha:g} leaves attempts and correct answers alone"
    ids = [item for item in after if before and item in before]
    if before is None or not ids:
        found.find(run.name, claim, None, "No rows at the no-op on these items.")
        return
    attempts = _paired(ids, lambda item: (before[item] != _GRADES[2], after[item] != _GRADES[2]))
    correct = _paired(ids, lambda item: (before[item] == _GRADES[0], after[item] == _GRADES[0]))
    moves = Counter((before[item], after[item]) for item in ids if before[item] != after[item])
    change, gain = attempts.difference(0.0, 1.0), correct.difference(0.0, 1.0)
    tried = [Counter(grades[item] for item in ids) for grades in (before, after)]
    precision = [wilson(c[_GRADES[0]], c[_GRADES[0]] + c[_GRADES[1]]) for c in tried]
    withheld = [moves[(grade, _GRADES[2])] for grade in _GRADES[:2]]
    holds = judge_none(change, gain)
    found.find(
        run.name, claim, holds,
        f"Attempts {points(change)}, correct answers {points(gain)}, precision {percent(precision[0])} to "
        f"{percent(precision[1])}. Of {sum(withheld)} attempts withheld {withheld[0]} had been correct and "
        f"{withheld[1]} incorrect; of the answers still given {moves[(_GRADES[1], _GRADES[0])]} turned correct and "
        f"{moves[(_GRADES[0], _GRADES[1])]} turned incorrect."
        + ("" if own else f" The no-op rows are those of {other}: {name} has none of its own.")
        + (could_see(max(change, gain, key=lambda e: e.high - e.low)) if holds == "not shown" else ""),
        attempts=change, correct=gain, precision=precision, moves={f"{a} to {b}": n for (a, b), n in moves.items()},
    )  # fmt: skip


def _paired(ids: Sequence[str], pair: Callable[[str], tuple[bool, bool]]) -> Panel:
    return Panel("", tuple(ids), (0.0, 1.0), np.array([pair(item) for item in ids], dtype=np.float64))


def _find_regrades(found: Collector, run: Run, graded: list[Record]) -> None:
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in graded:
        if record.response:
            seen[(record.id, record.response)].append(record.grade or "")
    repeated = {key: grades for key, grades in seen.items() if len(grades) > 1}
    if not repeated:
        return
    split = [key for key, grades in repeated.items() if len(set(grades)) > 1]
    found.find(
        run.name, "The same answer to the same question always gets the same grade", not split,
        f"{len(split)} of {len(repeated)} repeated answers got different grades in different conditions"
        + (f": {', '.join(f'{item}' for item, _ in split)}." if split else "."), split=[item for item, _ in split],
    )  # fmt: skip


def _find_contradictions(found: Collector, run: Run) -> None:
    known = [record for record in run.records if record.attempted is not None]
    correct = [record for record in known if not record.attempted and record.outcome == 1]
    graded = [record for record in known if record.attempted and record.grade == "NOT_ATTEMPTED"]
    unattempted = Counter(
        record.condition for record in known if record.grade == "NOT_ATTEMPTED" or not record.attempted
    )
    found.find(
        run.name, "'Attempted' agrees with the grades", not correct and not graded,
        f"{len(correct)} answers are correct but not attempted, {len(graded)} are graded NOT_ATTEMPTED but attempted. "
        f"Not attempted by either word: {', '.join(f'{n} of {name}' for name, n in unattempted.items()) or 'none'}.",
        correct_unattempted=len(correct), attempted_ungraded=len(graded),
    )  # fmt: skip


def _audit_answers(found: Collector, run: Run) -> None:
    """Yes/no outcomes: McNemar between the no-op (or first alpha) and every other, with gains and losses apart."""
    for name, panel in build_panels(run).items():
        if panel.is_binary and len(panel.alphas) > 1:
            _mcnemar_rows(found, run, name, panel)


def _mcnemar_rows(found: Collector, run: Run, name: str, panel: Panel) -> None:
    base = run.settings.no_op if run.settings.no_op in panel.alphas else panel.alphas[0]
    before = panel.values[:, panel.at(base)]
    for alpha in panel.alphas:
        after = panel.values[:, panel.at(alpha)]
        if alpha != base:
            gained, lost = int((after > before).sum()), int((after < before).sum())
            found.row(
                "mcnemar", run=run.name, condition=name, base=base, alpha=alpha, gained=gained, lost=lost,
                difference=panel.difference(base, alpha), p=mcnemar_exact(gained, lost),
            )  # fmt: skip


def _audit_options(found: Collector, run: Run) -> None:
    panels = build_panels(run)
    tokens = {record.id: record.option_tokens for record in run.records if record.option_tokens}
    for name, panel in panels.items():
        for alpha in panel.alphas:
            found.row("multiple_choice", run=run.name, condition=name, alpha=alpha, score=panel.rate(alpha))
        no_op, top = run.settings.no_op, panel.alphas[-1]
        if no_op not in panel.alphas or no_op == top:
            continue
        if panel.is_binary:
            _mcnemar_rows(found, run, name, panel)
        gained = int((panel.values[:, panel.at(top)] > panel.values[:, panel.at(no_op)]).sum())
        lost = int((panel.values[:, panel.at(top)] < panel.values[:, panel.at(no_op)]).sum())
        change = panel.difference(no_op, top)
        note = " These items were also used to choose the settings." if run.settings.split == "selection" else ""
        moved = panel.values[:, panel.at(top)] - panel.values[:, panel.at(no_op)]
        p = mcnemar_exact(gained, lost) if panel.is_binary else sign_flip_test(moved)
        holds: Verdict = judge_above(change) if p < CHANCE else "not shown"
        found.find(
            run.name, f"{name} at alpha {top:g} raises {run.settings.outcome} over the no-op",
            None if run.settings.split == "selection" else holds,
            f"{percent(panel.rate(no_op))} to {percent(panel.rate(top))}: {points(change)}; {gained} items up, {lost} "
            f"down, {'exact McNemar' if panel.is_binary else 'permutation'} p = {p:.2g}.{note}"
            + (could_see(change) if holds == "not shown" else ""),
            headline=not run.condition(name).is_control, difference=change, gained=gained, lost=lost, p=p,
        )  # fmt: skip
        if run.settings.ablation in panel.alphas and run.settings.ablation is not None:
            found.row("against_ablation", run=run.name, condition=name, alpha=top,
                      difference=panel.difference(run.settings.ablation, top))  # fmt: skip
        if tokens and panel.is_binary and not run.condition(name).is_control:
            _find_length_bias(found, run, name, tokens, panel)
    _find_controls(found, run, panels)
    if all(panel.is_binary for panel in panels.values()):
        _find_ties(found, run)


def _find_length_bias(found: Collector, run: Run, name: str, tokens: dict[str, tuple[int, ...]], panel: Panel) -> None:
    """Summed log-likelihood favours short options; does the gain survive scoring per token?"""

    def per_token(record: Record) -> float | None:
        lengths = tokens.get(record.id)
        if (
            lengths is None
            or record.loglik is None
            or record.true_options is None
            or len(lengths) != len(record.loglik)
        ):
            return None
        return multiple_choice_scores([s / n for s, n in zip(record.loglik, lengths, strict=True)],
                                      record.true_options).mc1  # fmt: skip

    fair = build_panel(name, [r for r in run.records if r.condition == name], per_token)
    if not np.isfinite(fair.values).all():
        return
    no_op, top = run.settings.no_op, panel.alphas[-1]
    summed, scaled = panel.difference(no_op, top), fair.difference(no_op, top)
    gap = Panel(name, panel.ids, panel.alphas, panel.values - fair.select(panel.ids).values).difference(no_op, top)
    alike = (above_zero(summed) == above_zero(scaled)) and (summed.high < 0) == (scaled.high < 0)
    holds: Verdict = "supported" if alike else "contradicted" if away_from_zero(gap) else "not shown"
    found.find(
        run.name, f"The change of {name} does not hang on the length of the options",
        holds,
        f"Alpha {no_op:g} to {top:g}: {points(summed)} by summed log-likelihood, {points(scaled)} by log-likelihood "
        "per token.", summed=summed, per_token=scaled,
    )  # fmt: skip


def _find_controls(found: Collector, run: Run, panels: dict[str, Panel]) -> None:
    for name in run.selected():
        controls = [panels[other] for other in run.controls_of(name)]
        top = panels[name].alphas[-1]
        usable = [c for c in controls if top in c.alphas and run.settings.no_op in c.alphas]
        if not usable or run.settings.no_op not in panels[name].alphas:
            continue
        gains = {c.condition: c.difference(run.settings.no_op, top) for c in usable}
        own = panels[name].difference(run.settings.no_op, top)
        best = max(usable, key=lambda c: gains[c.condition].value)
        paired = set(best.ids) == set(panels[name].ids)
        gap, holds = None, None
        numbers: dict[str, Any] = {}
        if paired:
            beside = subtract(panels[name], [best])
            gap = beside.difference(run.settings.no_op, top)
            p = sign_flip_test(beside.values[:, beside.at(top)] - beside.values[:, beside.at(run.settings.no_op)])
            holds, numbers = (judge_above(gap) if p < CHANCE else "not shown"), {"p": p}
        found.find(
            run.name,
            f"{name} gains more than its random controls",
            holds,
            f"{points(own)} against {', '.join(points(e) for e in gains.values())} for {len(gains)} random controls"
            + (f"; to the best of them {points(gap)}." if gap else ", on other items.")
            + (could_see(gap) if gap is not None and holds == "not shown" else ""),
            headline=True,
            own=own,
            controls=gains,
            **numbers,
        )


def _find_ties(found: Collector, run: Run) -> None:
    scored = [r for r in run.records if r.loglik and r.true_options and len(r.loglik) == len(r.true_options)]
    tied = [r for r in scored if multiple_choice_scores(r.loglik or (), r.true_options or ()).tied]
    first = sum(bool(r.true_options and r.true_options[0]) for r in scored)
    mismatched = sum(bool(r.loglik) for r in run.records) - len(scored)
    found.find(
        run.name, "No score hangs on a tie between options", not tied,
        f"In {len(tied)} of {len(scored)} rows a true and a false option share the highest log-likelihood, and the "
        f"order of the options decides; the first option is true in {first}. {mismatched} rows have unequal numbers of "
        "options and scores.", ties=[f"{r.condition} {r.id} at {r.alpha:g}" for r in tied],
    )  # fmt: skip


def _audit_lengths(found: Collector, run: Run) -> None:
    def length(record: Record) -> float | None:
        chars = record.chars if record.chars is not None else len(record.response) if record.response else None
        return None if chars is None else float(chars)

    panels = build_panels(run, length)
    for name in run.selected():
        panel = panels[name]
        if len(panel.alphas) < 2 or not np.isfinite(panel.means).all():
            continue
        for alpha in panel.alphas:
            found.row("lengths", run=run.name, condition=name, alpha=alpha, characters=panel.rate(alpha))
        change = panel.difference(panel.alphas[0], panel.alphas[-1])
        share = change.value / panel.means[0] if panel.means[0] else float("nan")
        figure = f"lengths:{run.name}:{name}"
        found.figures[figure] = Figure(
            f"{run.name}: response length", "alpha", "characters",
            (Series(name, panel.alphas, tuple(float(m) for m in panel.means)),),
        )  # fmt: skip
        found.find(
            run.name,
            f"Responses under {name} keep their length",
            _keeps_length(change, float(panel.means[0])),
            f"Mean {panel.means[0]:.1f} characters at alpha {panel.alphas[0]:g}, {panel.means[-1]:.1f} at "
            f"{panel.alphas[-1]:g}: {interval(change, 1, sign=True)} ({number(100 * share, 0, sign=True)} %). "
            "A score that depends on length changes with it.", figure=figure, change=change,
        )  # fmt: skip
    _find_changed(found, run)


def _keeps_length(change: Estimate, mean: float) -> Verdict:
    """Within one part in twenty."""
    room = 0.05 * mean
    if abs(change.value) > room and away_from_zero(change):
        return "contradicted"
    return "supported" if -room <= change.low and change.high <= room else "not shown"


def _find_changed(found: Collector, run: Run) -> None:
    """How many answers changed at all, where texts or their digests are recorded."""
    texts = {r.cell: r.digest or r.response for r in run.records if r.digest or r.response}
    for name in run.selected():
        alphas = sorted({alpha for condition, _, alpha in texts if condition == name})
        if len(alphas) > 1:
            low, high = alphas[0], alphas[-1]
            pairs = [(texts[(name, i, low)], texts.get((name, i, high))) for c, i, a in texts if c == name and a == low]
            both = [(a, b) for a, b in pairs if b is not None]
            found.row("changed", run=run.name, condition=name, low=low, high=high, n=len(both),
                      changed=sum(a != b for a, b in both))  # fmt: skip
