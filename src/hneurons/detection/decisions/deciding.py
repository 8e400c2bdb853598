"""What was learned on labelled answers, applied to a new one: its calibrated probability."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hneurons.detection.assessment import Assessment
from hneurons.detection.decisions.calibration import Calibration, describe_calibration, load_calibration
from hneurons.detection.detector import Detector


class Decisions(NamedTuple):
    """What lies beside a detector; each part is None where it was not made."""

    calibration: Calibration | None = None

    def apply(self, found: Assessment) -> Assessment:
        """An assessment with what follows from its log odds."""
        if found.problem or self.calibration is None:
            return found
        (value,) = self.calibration.calibrator.probability(np.array([found.log_odds]))
        return replace(found, probability=float(value))

    def sentences(self) -> dict[str, str]:
        """What each part rests on, by its name."""
        return {} if self.calibration is None else {"calibrated": describe_calibration(self.calibration)}

    def settings(self) -> dict[str, Any]:
        """What determines the results; empty where nothing was made."""
        return {} if self.calibration is None else {"calibration": self.calibration.content}


def load_decisions(folder: Path, detector: Detector) -> Decisions:
    """What lies beside a detector in `folder`. Raises `ArtifactError` where it is damaged or of another detector."""
    return Decisions(load_calibration(folder, detector))
