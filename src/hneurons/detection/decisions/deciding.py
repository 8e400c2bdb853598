"""What was learned on labelled answers, applied to a new one: its calibrated probability, and whether to give it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hneurons.detection.assessment import Assessment
from hneurons.detection.decisions.abstention import Guarantee, describe_guarantee, load_guarantee
from hneurons.detection.decisions.calibration import Calibration, describe_calibration, load_calibration
from hneurons.detection.decisions.drift import DriftMonitor, Seen
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

    def apply(self, found: Assessment, monitor: DriftMonitor | None = None) -> Assessment:
        """An assessment with what follows from its scores.

        The `monitor` reads it first. From its alarm on, the policy's `void` takes the place of "answer".
        """
        if not found.problem:
            found = self._judge(found)
            if monitor is not None:
                monitor.read([Seen(found.log_odds, found.contributions)])
        if self.policy is None:
            return found
        void = monitor is not None and monitor.state.alarm
        return replace(found, action=decide(found, self.policy, void=void).action)

    def _judge(self, found: Assessment) -> Assessment:
        if self.calibration is not None:
            (value,) = self.calibration.calibrator.probability(np.array([found.log_odds]))
            found = replace(found, probability=float(value))
        if self.guarantee is not None:
            found = replace(found, decision="answer" if self.guarantee.answer(found.log_odds) else "abstain")
        return found

    def watch(self, earlier: Iterable[Assessment] = ()) -> DriftMonitor | None:
        """A monitor of whether answers are drawn like those of the guarantee, which has read the `earlier` ones.

        None where there is no guarantee, or where its reference is too small to tell anything.
        """
        if self.guarantee is None:
            return None
        monitor = DriftMonitor(self.guarantee.reference)
        monitor.read(Seen(row.log_odds, row.contributions) for row in earlier if not row.problem)
        return monitor if monitor.works else None

    def sentences(self) -> dict[str, str]:
        """What each part rests on, by its name."""
        calibrated = {} if self.calibration is None else {"calibrated": describe_calibration(self.calibration)}
        return calibrated | ({} if self.guarantee is None else {"guarantee": describe_guarantee(self.guarantee)})

    def settings(self) -> dict[str, Any]:
        """What determines the results; empty where nothing was made."""
        found: dict[str, Any] = {name: part.content for name, part in self._asdict().items() if part is not None}
        if self.policy is not None and self.guarantee is not None:
            found["void"] = (
                "from the alarm on"  # earlier versions gave such answers the action of a guarantee that holds
            )
        return found


def load_decisions(folder: str | Path, detector: Detector, *, policy: str | Path | None = None) -> Decisions:
    """What lies beside a detector in `folder`, and a policy.

    Raises `ArtifactError` where it is damaged or of another detector, `InputError` for a file that is no policy.
    """
    folder, followed = Path(folder), None if policy is None else load_policy(policy)
    return Decisions(load_calibration(folder, detector), load_guarantee(folder, detector), followed)
