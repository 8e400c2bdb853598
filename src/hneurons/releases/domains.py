"""Where a detector works and where it failed, in words, from its test results alone."""

import math
from typing import Any, Literal, NamedTuple

from hneurons.core.wording import interval
from hneurons.detection.evaluation import FEW, DatasetResult, Difference
from hneurons.detection.like_for_like import RandomNeurons

Outcome = Literal["passed", "failed", "not testable"]


class DomainVerdict(NamedTuple):
    """`reason` is a sentence that holds the numbers it is drawn from."""

    outcome: Outcome
    reason: str


def judge_domain(result: DatasetResult) -> DomainVerdict:
    """Whether the detector beat chance, and its neurons as many random ones fitted alike, on a test set.

    It has failed where the 95% interval of its AUROC includes 0.5 or lies below. It has failed, too, where the interval
    of the paired difference from random neurons does: all its neurons fitted anew, against as many random ones fitted
    in the same way. An evaluation that compared otherwise, as earlier versions did, decides nothing.
    """
    area = result.detector.auroc
    if min(result.right, result.wrong) < FEW or not all(map(math.isfinite, (area.low, area.high))):
        return DomainVerdict(
            "not testable",
            f"{result.right} right and {result.wrong} wrong answers were located: an interval that means something "
            f"needs at least {FEW} of each.",
        )
    found = f"AUROC {interval(area)} on {result.right} right and {result.wrong} wrong answers"
    if area.low <= 0.5:
        where = "lies below chance" if area.high < 0.5 else "includes 0.5, which is chance"
        return DomainVerdict("failed", f"{found}: the interval {where}.")
    if not result.random.like:
        return DomainVerdict(
            "not testable",
            f"{found}: above chance, but an earlier version compared it with random neurons that were fitted "
            "otherwise. Run 'evaluate' again.",
        )
    if not result.like_for_like:
        return DomainVerdict("passed", f"{found}: above chance; there were no random neurons to compare with.")
    beaten, *rest = result.like_for_like
    said = "".join(f"; {_compare(*one)}" for one in rest)
    if beaten[1].auroc.low <= 0:
        return DomainVerdict("failed", f"{found}: above chance, but {_compare(*beaten)}{said}.")
    return DomainVerdict("passed", f"{found}: above chance, and {_compare(*beaten)}{said}.")


def _compare(random: RandomNeurons, difference: Difference) -> str:
    """One comparison like for like in words, saying what was compared."""
    gap, drawn = difference.auroc, f"{random.size} random neurons fitted alike ({random.auroc[0]:.3f} on average)"
    if gap.low > 0:
        return f"{difference.method}, better than {drawn} by {interval(gap)}"
    return f"{difference.method}, not better than {drawn}, the difference being {interval(gap)}"


def domain_row(result: DatasetResult) -> dict[str, Any]:
    """The JSON row of a domain: verdict, counts, and every method's metrics with n and 95% interval."""
    verdict = judge_domain(result)
    return {
        "name": result.name,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "right": result.right,
        "wrong": result.wrong,
        "not_located": result.not_located,
        "auroc": result.detector.auroc.to_row(),
        "accuracy": result.detector.accuracy.to_row(),
        "random_neurons": [
            {
                "like": difference.method,
                "size": random.size,
                "draws": random.draws,
                "mean_auroc": random.auroc[0],
                "better_than_random_by": difference.auroc.to_row(),
            }
            for random, difference in result.like_for_like
        ],
        "others": [
            {"method": s.method, "auroc": s.auroc.to_row(), "accuracy": s.accuracy.to_row()} for s in result.scores[1:]
        ],
    }
