"""What was learned on labelled answers, applied to a new one: its calibrated probability, and whether to give it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hneurons.detection.assessment import Assessment
from hneurons.detection.decisions.abstention import Guarantee, describe_guarantee, load_guarantee
from hneurons.detection.decisions.calibration import Calibration, describe_calibration, load_calibration
from hneurons.detection.decisions.drift import Drift, DriftMonitor, Seen
from hneurons.detection.decisions.policy import Policy, check_policy, decide, load_policy
from hneurons.detection.detector import Detector


class Decisions(NamedTuple):
    """What lies beside a detector; each part is None where it was not made."""

    calibration: Calibration | None = None
    guarantee: Guarantee | None = None
    policy: Policy | None = None

    def check(self, scores: Iterable[str]) -> None:
        """Raise `InputError` where the policy asks for what is not there; `scores` are the names of other scores."""
        if self.policy is not None:
            calibrated, guaranteed = self.calibration is not None, self.guarantee is not None
            check_policy(self.policy, scores, calibrated=calibrated, guaranteed=guaranteed)

    def apply(self, found: Assessment) -> Assessment:
        """An assessment with what follows from its scores."""
        found = found if found.problem else self._judge(found)
        return found if self.policy is None else replace(found, action=decide(found, self.policy).action)

    def _judge(self, found: Assessment) -> Assessment:
        if self.calibration is not None:
            (value,) = self.calibration.calibrator.probability(np.array([found.log_odds]))
            found = replace(found, probability=float(value))
        if self.guarantee is not None:
            found = replace(found, decision="answer" if self.guarantee.answer(found.log_odds) else "abstain")
        return found

    def watch(self, rows: Sequence[Assessment]) -> Drift | None:
        """Whether answers, in their order, are drawn like those of the guarantee; None where that cannot be told.

        A single answer, or a reference of few, tells nothing.
        """
        if self.guarantee is None or len(rows) < 2:
            return None
        monitor = DriftMonitor(self.guarantee.reference)
        seen = (Seen(row.log_odds, row.contributions) for row in rows if not row.problem)
        return monitor.read(seen) if monitor.works else None

    def sentences(self) -> dict[str, str]:
        """What each part rests on, by its name."""
        calibrated = {} if self.calibration is None else {"calibrated": describe_calibration(self.calibration)}
        return calibrated | ({} if self.guarantee is None else {"guarantee": describe_guarantee(self.guarantee)})

    def settings(self) -> dict[str, Any]:
        """What determines the results; empty where nothing was made."""
        return {name: part.content for name, part in self._asdict().items() if part is not None}


def load_decisions(folder: Path, detector: Detector, *, policy: Path | None = None) -> Decisions:
    """What lies beside a detector in `folder`, and a policy.

    Raises `ArtifactError` where it is damaged or of another detector, `InputError` for a file that is no policy.
    """
    followed = None if policy is None else load_policy(policy)
    return Decisions(load_calibration(folder, detector), load_guarantee(folder, detector), followed)
