"""What a token cap does to a rate: finish reasons, one long generation rescored at every budget, short against long."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from hneurons.audits.panels import Panel, build_panel, build_panels
from hneurons.audits.results import AUDITS, AuditResult, Collector, Figure, Series, above_zero, away_from_zero, points
from hneurons.audits.verdicts import Verdict, could_see, judge_none
from hneurons.core.stats import Estimate, wilson
from hneurons.core.wording import number
from hneurons.records.record import Record
from hneurons.records.recorded_run import Run, outcome_runs

BUDGETS = (64, 128, 256, 512, 768, 1024, 1536, 2048)


class BudgetEffect(NamedTuple):
    budget: int
    rates: tuple[Estimate, ...]
    difference: Estimate
    slope: Estimate


def rescore_spans(records: Sequence[Record], budgets: Sequence[int] = BUDGETS) -> list[BudgetEffect]:
    """Rates at each budget from one long generation.

    A response counts at a budget if it counts in full and its first span begins within the budget. A counted response
    whose spans could not be placed is unscored at every budget, since where it turns is unknown. Characters stand for
    tokens in each response's own ratio; without `n_tokens` 4 characters count as one token.
    """

    def at(budget: int) -> Callable[[Record], float | None]:
        return lambda r: _begun(r, budget)

    return [_effect(budget, build_panel("", records, at(budget))) for budget in budgets]


def _begun(record: Record, budget: int) -> float | None:
    if record.outcome != 1:
        return record.outcome
    starts = [span[0] for span in record.spans or () if span[2]]
    return float(min(starts) < _characters(record, budget)) if starts else None


def _characters(record: Record, budget: int) -> float:
    length = record.chars if record.chars is not None else len(record.response or "")
    return budget * (length / record.n_tokens if record.n_tokens else 4.0)


def _effect(budget: int, panel: Panel) -> BudgetEffect:
    rates = tuple(panel.rate(alpha) for alpha in panel.alphas)
    return BudgetEffect(budget, rates, panel.difference(panel.alphas[0], panel.alphas[-1]), panel.slope())


@AUDITS.register("truncation")
def audit_truncation(runs: Sequence[Run]) -> AuditResult:
    """Finish reasons, rates as a function of the token budget, short and long runs of the same items."""
    found = Collector("truncation", runs)
    usable = outcome_runs(runs)
    for run in usable:
        _find_caps(found, run)
        for name in run.conditions:
            _find_budgets(found, run, name)
    for first, second in combinations(usable, 2):
        caps = (first.settings.max_tokens, second.settings.max_tokens)
        same = all(getattr(first.settings, f) == getattr(second.settings, f) for f in ("benchmark", "outcome"))
        if same and caps[0] and caps[1] and caps[0] != caps[1]:
            short, long = (first, second) if caps[0] < caps[1] else (second, first)
            _compare_runs(found, short, long)
    return found.result("finish reasons, lengths, spans or runs of one benchmark under two token caps")


def _find_caps(found: Collector, run: Run) -> None:
    """Whether responses were cut off, and whether that depends on alpha."""
    cap = run.settings.max_tokens
    known = [r for r in run.records if r.finish_reason is not None or (r.n_tokens is not None and cap)]
    claim = "No response was cut off by the token cap"
    if not known:
        if cap:
            lengths = [r.chars for r in run.records if r.chars is not None]
            spread = f"; lengths run from {min(lengths)} to {max(lengths)} characters" if lengths else ""
            found.find(run.name, claim, None, f"No finish reason or token count recorded (cap {cap} tokens){spread}.")
        return
    cut = {
        r.cell for r in known if r.finish_reason == "length" or (r.n_tokens is not None and cap and r.n_tokens >= cap)
    }
    by_alpha = {}
    for alpha in sorted({record.alpha for record in known}):
        here = [record for record in known if record.alpha == alpha]
        by_alpha[f"{alpha:g}"] = wilson(sum(record.cell in cut for record in here), len(here))
    shown = ", ".join(f"{alpha}: {100 * share.value:.1f} %" for alpha, share in by_alpha.items())
    found.find(
        run.name, claim, not cut,
        f"{len(cut)} of {len(known)} responses reached the cap"
        + (f" of {cap} tokens" if cap else "") + f" (by alpha: {shown}).",
        cut=len(cut), by_alpha=by_alpha,
    )  # fmt: skip


def _find_budgets(found: Collector, run: Run, name: str) -> None:
    records = [record for record in run.records if record.condition == name]
    if not any(record.spans for record in records) or len({record.alpha for record in records}) < 2:
        return
    longest = max(r.n_tokens or (r.chars or 0) / 4 for r in records)
    budgets = [b for b in BUDGETS if b < longest]
    budgets.append(int(longest) + 1)
    effects = rescore_spans(records, budgets)
    for effect in effects:
        found.row("budgets", run=run.name, condition=name, budget=effect.budget, rates=effect.rates,
                  difference=effect.difference, slope=effect.slope)  # fmt: skip
    full = effects[-1].difference
    flips = [e.budget for e in effects if e.difference.value * full.value < 0]
    certain = [e.budget for e in effects if away_from_zero(e.difference)]
    figure = f"budgets:{run.name}:{name}"
    alphas = sorted({record.alpha for record in records})
    found.figures[figure] = Figure(
        f"{run.name}, {name}: one long generation, cut", "token budget", "rate (%)",
        tuple(
            Series(f"alpha {alpha:g}", tuple(budgets), tuple(100 * e.rates[place].value for e in effects))
            for place, alpha in enumerate(alphas)
        ),
    )  # fmt: skip
    if run.condition(name).is_control:
        return
    spread = [100 * e.difference.value for e in effects]
    shown = "; ".join(f"{e.budget} tokens {points(e.difference)}" for e in effects)
    holds: Verdict = "supported"
    if not certain:
        holds = judge_none(*(e.difference for e in effects))
    elif flips or len(certain) < len(effects):
        holds = "contradicted"
    unplaced = sum(r.outcome == 1 and not any(s[2] for s in r.spans or ()) for r in records)
    found.find(
        run.name,
        f"The effect of {name} does not depend on the token budget",
        holds,
        f"Counting a response once its first graded passage has begun, alpha {alphas[0]:g} to {alphas[-1]:g}: {shown}. "
        f"From {number(min(spread), 1, sign=True)} to "
            f"{number(max(spread), 1, sign=True)} pp by budget alone; its interval leaves 0 at "
        f"{_shown(certain)}, its sign differs from that of the whole response at {_shown(flips)}. "
        f"{unplaced} counted responses have no placed passage and are left out."
        + (could_see(effects[-1].difference) if holds == "not shown" else ""),
        figure=figure, flips=flips, significant_at=certain, unplaced=unplaced,
    )  # fmt: skip


def _shown(budgets: Sequence[int]) -> str:
    return f"budgets {', '.join(map(str, budgets))}" if budgets else "no budget"


def _compare_runs(found: Collector, short: Run, long: Run) -> None:
    """The same items, once under a small and once under a large cap, at the alphas both have."""
    ours, theirs = build_panels(short), build_panels(long)
    for name in short.selected():
        if name not in theirs:
            continue
        alphas = [a for a in ours[name].alphas if a in theirs[name].alphas]
        ids = [item for item in ours[name].ids if item in set(theirs[name].ids)]
        if len(alphas) < 2 or not ids:
            continue
        one, two = ours[name].select(ids, alphas), theirs[name].select(ids, alphas)
        low, high = one.difference(alphas[0], alphas[-1]), two.difference(alphas[0], alphas[-1])
        gap = Panel(name, one.ids, one.alphas, one.values - two.values)
        gap_slope, gap_change = gap.slope(), gap.difference(alphas[0], alphas[-1])
        missed = {f"{a:g}": int(((one.values < two.values)[:, k]).sum()) for k, a in enumerate(alphas)}
        only = {f"{a:g}": int(((one.values > two.values)[:, k]).sum()) for k, a in enumerate(alphas)}
        longer = _share_longer(short, long, name)
        figure = f"caps:{short.name}:{long.name}:{name}"
        found.figures[figure] = Figure(
            f"{name}: the same items under two caps", "alpha", f"{short.settings.outcome} (%)",
            tuple(
                Series(f"{run.settings.max_tokens} tokens", panel.alphas, tuple(100 * float(m) for m in panel.means))
                for run, panel in ((short, one), (long, two))
            ),
        )  # fmt: skip
        holds = judge_none(gap_change)
        if holds == "supported" and above_zero(low) != above_zero(high):
            holds = "not shown"
        found.find(
            f"{short.name}, {long.name}",
            f"The trend of {name} is the same under a cap of {short.settings.max_tokens} and of "
            f"{long.settings.max_tokens} tokens",
            holds,
            f"Alpha {alphas[0]:g} to {alphas[-1]:g} on {len(ids)} shared items: {points(low)} short, {points(high)} "
            f"long; slope {points(one.slope(), 2)} and {points(two.slope(), 2)}, difference of slopes "
            f"{points(gap_slope, 2)}. Counted only when long, by alpha: {missed}; only when short: {only}. {longer}"
            + (could_see(gap_change) if holds == "not shown" else ""),
            figure=figure, short=low, long=high, gap_slope=gap_slope, missed=missed, only_short=only,
        )  # fmt: skip


def _share_longer(short: Run, long: Run, name: str) -> str:
    lengths = {(r.id, r.alpha): r.chars for r in long.records if r.condition == name and r.chars is not None}
    pairs = [
        (r.chars, lengths[(r.id, r.alpha)])
        for r in short.records
        if r.condition == name and r.chars is not None and (r.id, r.alpha) in lengths
    ]
    if not pairs:
        return "Lengths are not recorded in both."
    grown = sum(b > a for a, b in pairs)
    ratio = float(np.median([b / a for a, b in pairs if a]))
    return f"{grown} of {len(pairs)} responses are longer under the large cap (median {ratio:.1f} times)."
