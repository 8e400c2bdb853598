"""What a sweep of alphas shows and what it does not, as sentences made from the numbers alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hneurons.benchmarks.results import AlphaResult, BenchmarkResult
from hneurons.benchmarks.runner import NO_OP
from hneurons.core.stats import Estimate

INERT = "copying"
_ROUNDING = 1e-9
_MUCH = 0.05  # change in the share of unscored or truncated replies that is worth a sentence


def percent(estimate: Estimate) -> str:
    """A rate in percent with its interval."""
    if not math.isfinite(estimate.value):
        return "–"
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def interval(estimate: Estimate) -> str:
    """A difference or slope in percentage points with its interval."""
    if not math.isfinite(estimate.value):
        return "–"
    return f"{100 * estimate.value:+.2f} [{100 * estimate.low:.2f}, {100 * estimate.high:.2f}]"


def sign(estimate: Estimate) -> int:
    """1 or -1 where the whole interval lies above or below 0 by more than rounding, else 0."""
    return int(estimate.low > _ROUNDING) - int(estimate.high < -_ROUNDING)


def judge_sweep(result: BenchmarkResult) -> str:
    """Whether the rate moves with alpha, and more than with random neurons; a null result in as many words."""
    slope, above = result.selected.slope, result.slope_above_controls
    if not math.isfinite(slope.value):
        return "No item was scored at every alpha, so nothing can be said about a trend."
    with_controls = f"the mean of {result.controls} random sets ({interval(above)} pp)"
    if not sign(slope):
        said = f"No trend can be told from chance: {interval(slope)} pp per unit of alpha"
        return f"{said}, though it is {_beside(sign(above))} {with_controls}." if sign(above) else f"{said}."
    said = f"The rate {'rises' if sign(slope) > 0 else 'falls'} by {interval(slope)} pp per unit of alpha"
    if not result.controls:
        return f"{said}. No random neurons were scaled, so this may be what scaling any neurons does."
    if not math.isfinite(above.value):
        return f"{said}. No item was scored under every random set, so the two cannot be compared."
    if not sign(above):
        return f"{said}, which is no different from {with_controls}."
    if sign(above) != sign(slope):
        return f"{said}, but less than random neurons: {_beside(sign(above))} {with_controls}."
    slopes = [c.slope.value for c in result.conditions if c is not result.selected]
    steeper = sum(value >= slope.value if sign(slope) > 0 else value <= slope.value for value in slopes)
    return f"{said}, more than random neurons: {_beside(sign(above))} {with_controls}; {steeper} of them are as steep."


def _beside(direction: int) -> str:
    return "above" if direction > 0 else "below"


def describe_sweep(result: BenchmarkResult) -> list[str]:
    """Rates at both ends, where they differ from alpha = 1, and what became of the replies without outcome."""
    alphas = result.selected.alphas
    base = next(at for at in alphas if at.alpha == NO_OP)
    ends = [at for at in (alphas[0], alphas[-1]) if at is not base]
    rates = ", ".join(f"{percent(at.rate)} at alpha {at.alpha:g}" for at in ends)
    said = [f"{percent(base.rate)}% of {base.rate.n} items at alpha = 1" + (f"; {rates}." if rates else ".")]
    others = [at for at in alphas if at is not base]
    moved = [at for at in others if sign(at.change)]
    if moved:
        found = "; ".join(f"{interval(at.change)} pp at {at.alpha:g}" for at in moved)
        said.append(f"Different from alpha = 1 at {len(moved)} of {len(others)} alphas: {found}.")
    elif others:
        said.append("At no alpha is the rate different from that at alpha = 1 by more than chance.")
    said += _losses("have no outcome", result.items, base, others, lambda at: sum(at.unscored.values()))
    said += _losses("are cut off by the token limit", result.items, base, others, lambda at: at.truncated)
    return said


def _losses(words: str, items: int, base: AlphaResult, others: Sequence[AlphaResult], count: Any) -> list[str]:
    changed = [at for at in others if abs(count(at) - count(base)) > _MUCH * items]
    if not changed:
        return []
    worst = max(changed, key=lambda at: abs(count(at) - count(base)))
    return [f"At alpha = {worst.alpha:g}, {count(worst)} of {items} replies {words}, at alpha = 1 {count(base)}."]


def list_sweep_caveats(results: Mapping[str, BenchmarkResult]) -> list[str]:
    """What these results do not show."""
    said = []
    inert = results.get(INERT)
    if inert is None:
        said.append(f"Without '{INERT}', which should not move, it is unknown from which alpha on the model is broken.")
    else:
        broken = [f"{at.alpha:g}" for at in inert.selected.alphas if sign(at.change)]
        said.append(
            f"'{INERT}', which needs no knowledge and no stance, moves at alpha {', '.join(broken)}: there the model "
            "is damaged, and other rates say little."
            if broken
            else f"'{INERT}', the inert control, moves at no alpha: what moves elsewhere is not a broken model."
        )
    by_rule = [name for name, result in results.items() if not result.judge.startswith("llm:") and name != INERT]
    if by_rule:
        said.append(
            f"No model judged {', '.join(by_rule)}: rules compare conditions, but the rates themselves are rough."
        )
    controls = max((result.controls for result in results.values()), default=0)
    if controls:
        said.append(f"Lying beyond all of {controls} random sets happens by chance one time in {controls + 1}.")
    tests = sum(len(result.selected.alphas) - 1 for result in results.values())
    said.append(f"{tests} comparisons with alpha = 1 are shown; about 1 in 20 differs by chance alone.")
    said.append("A rate that moves says nothing about which items moved or why: audit the recorded replies.")
    return said
