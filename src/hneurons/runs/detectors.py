"""A detector by whatever names it, with all that is needed to read new answers as it read those it was fitted on."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hneurons.detection.detector import Detector, open_detector
from hneurons.neurons.opening import find_neurons
from hneurons.runs.folder import RunFolder

if TYPE_CHECKING:
    from hneurons.models.prompts import PromptStyle


class DetectorSource(NamedTuple):
    """`model` is empty where the detector is not of a run, whose plan names it."""

    detector: Detector
    style: "PromptStyle"
    model: str
    dtype: str
    finder: str
    folder: Path
    """Where the detector lies, and beside it what was learned on labelled answers."""


def open_for_answers(source: str | Path) -> DetectorSource:
    """The detector of a run, a folder of 'fit', a release or a hub id.

    Raises what `open_detector` raises, and `InputError` where it is not known how its questions were put.
    """
    detector, (place, run) = open_detector(source), find_neurons(source)
    if run is None:
        return DetectorSource(detector, detector.style, "", "auto", "response", place)
    folder = RunFolder(run)
    style = detector.style if "style" in detector.data else folder.load_style()
    plan = folder.plan
    return DetectorSource(detector, style, plan.model, plan.measure_dtype or plan.dtype, plan.finder, place)
