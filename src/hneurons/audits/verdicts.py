"""From an interval to a verdict: borne out, contradicted, or not shown because the records are too few to tell."""

from collections.abc import Sequence
from math import isfinite
from typing import Literal

from hneurons.core.stats import Estimate, detectable
from hneurons.core.wording import number

Verdict = Literal["supported", "not shown", "contradicted", "not testable"]
CHANCE = 0.05
MARGIN = 0.05
"""A difference of rates this small is no difference, where a claim says that there is none."""


def judge_above(estimate: Estimate, line: float = 0.0, *others: Estimate) -> Verdict:
    """Of the claim that something lies above `line`: the whole interval must, and those of `others` as well."""
    found = (estimate, *others)
    if not all(isfinite(one.value) for one in found):
        return "not testable"
    if all(one.low > line for one in found):
        return "supported"
    return "contradicted" if all(one.high < line for one in found) else "not shown"


def judge_none(*estimates: Estimate, margin: float = MARGIN) -> Verdict:
    """Of the claim that there is no difference: contradicted by any away from 0, shown by all within the margin."""
    if not all(isfinite(one.value) for one in estimates):
        return "not testable"
    if any(one.low > 0 or one.high < 0 for one in estimates):
        return "contradicted"
    return "supported" if all(-margin <= one.low and one.high <= margin for one in estimates) else "not shown"


def could_see(estimate: Estimate, *, scale: float = 100, unit: str = " pp", digits: int = 1) -> str:
    """What effect these records could have shown, as a sentence; empty where that is unknown."""
    least = scale * detectable(estimate)
    if not least > 0:
        return ""
    return (
        f" From n={estimate.n} a difference of {number(least, digits)}{unit} would be seen in four of five such runs."
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the same order (Holm 1979): one family in 20 has a false one."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = worst
    return corrected
