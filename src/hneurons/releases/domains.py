"""Where a detector works and where it failed, in words, from its test results alone."""

import math
from typing import Any, Literal, NamedTuple

from hneurons.core.wording import interval
from hneurons.detection.evaluation import DETECTOR, RANDOM, DatasetResult

Outcome = Literal["passed", "failed", "not testable"]
MIN_PER_CLASS = 10
"""Below this many answers of a class a bootstrap interval is too narrow to be believed."""


class DomainVerdict(NamedTuple):
    """`reason` is a sentence that holds the numbers it is drawn from."""

    outcome: Outcome
    reason: str


def judge_domain(result: DatasetResult) -> DomainVerdict:
    """Whether the detector beat chance and as many random neurons on a test set.

    It has failed where the 95% interval of its AUROC includes 0.5 or lies below. It has also failed where the interval
    of its paired difference from random neurons includes 0. Results from before that difference was measured are held
    to an interval above the mean of the random draws.
    """
    area, random = result.detector.auroc, result.random.auroc[0]
    if min(result.right, result.wrong) < MIN_PER_CLASS or not all(map(math.isfinite, (area.low, area.high))):
        return DomainVerdict(
            "not testable",
            f"{result.right} right and {result.wrong} wrong answers were located: an interval that means something "
            f"needs at least {MIN_PER_CLASS} of each.",
        )
    found = f"AUROC {interval(area)} on {result.right} right and {result.wrong} wrong answers"
    if area.low <= 0.5:
        where = "lies below chance" if area.high < 0.5 else "includes 0.5, which is chance"
        return DomainVerdict("failed", f"{found}: the interval {where}.")
    gap = result.difference(DETECTOR, RANDOM)
    drawn = f"as many random neurons ({random:.3f} on average)"
    if gap is not None and gap.low <= 0:
        return DomainVerdict("failed", f"{found}: not better than {drawn}, the difference being {interval(gap)}.")
    if gap is None and area.low <= random:
        return DomainVerdict("failed", f"{found}: not shown to be better than {drawn}.")
    if not math.isfinite(random):
        return DomainVerdict("passed", f"{found}: above chance; there were no random neurons to compare with.")
    by = f" by {interval(gap)}" if gap is not None else ""
    return DomainVerdict("passed", f"{found}: above chance and better than {drawn}{by}.")


def domain_row(result: DatasetResult) -> dict[str, Any]:
    """The JSON row of a domain: verdict, counts, and every method's metrics with n and 95% interval."""
    verdict, random = judge_domain(result), result.random
    gap = result.difference(DETECTOR, RANDOM)
    return {
        "name": result.name,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "right": result.right,
        "wrong": result.wrong,
        "not_located": result.not_located,
        "auroc": result.detector.auroc.to_row(),
        "accuracy": result.detector.accuracy.to_row(),
        "random_neurons": {"draws": random.draws, "size": random.size, "mean_auroc": random.auroc[0]},
        "better_than_random_by": gap.to_row() if gap is not None else None,
        "others": [
            {"method": s.method, "auroc": s.auroc.to_row(), "accuracy": s.accuracy.to_row()} for s in result.scores[1:]
        ],
    }
