"""An audit: does the length of the replies change?"""

from collections.abc import Sequence

from hneurons.audits import AuditResult
from hneurons.audits.results import Collector
from hneurons.records.recorded_run import Run, outcome_runs


def audit_lengths(runs: Sequence[Run]) -> AuditResult:
    """Whether replies are as long at every alpha."""
    found = Collector("lengths", runs)
    for run in outcome_runs(runs):
        lengths: dict[float, list[int]] = {}
        for record in run.records:
            if record.chars is not None:
                lengths.setdefault(record.alpha, []).append(record.chars)
        means = {alpha: sum(chars) / len(chars) for alpha, chars in sorted(lengths.items())}
        if len(means) > 1:
            shown = ", ".join(f"alpha {alpha:g}: {mean:.1f}" for alpha, mean in means.items())
            found.find(
                run.name, "Replies are as long at every alpha", max(means.values()) - min(means.values()) < 1,
                f"Mean number of characters at {shown}.", means=means,
            )  # fmt: skip
    return found.result("lengths at two or more alphas")
