"""A detector by whatever names it, with all that is needed to read new answers as it read those it was fitted on."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hneurons.answers.questions import question_marks
from hneurons.core.artifacts import MANIFEST, RUN_JSON
from hneurons.detection.decisions.refitting import is_fully_known
from hneurons.detection.detector import Detector, open_detector
from hneurons.neurons.opening import find_neurons
from hneurons.runs.folder import RunFolder
from hneurons.runs.plan import TRAIN

if TYPE_CHECKING:
    from hneurons.models.prompts import PromptStyle


logger = logging.getLogger(__name__)


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


def with_fitted_on(detector: Detector, source: str | Path) -> Detector:
    """The detector with the training questions of its run beside those that it keeps itself.

    The run is that which `source` names, or in whose folder the detector lies. A warning says where it is not known
    what the detector was fitted on, as with one of an earlier version that stands alone.
    """
    folder, named = find_neurons(source)
    around = named or (folder.parent if (folder.parent / RUN_JSON).is_file() else None)
    run = None if around is None else RunFolder(around)
    if run is not None and not (run.place(TRAIN, "questions") / MANIFEST).is_file():
        run = None  # a copy without its stages
    if not is_fully_known(detector, beside_run=run is not None):
        logger.warning(
            "it is not known on which questions the detector was fitted: answers to them, if there are any here, are "
            "counted like the others"
        )
    if run is None:
        return detector
    trained = map(question_marks, run.load_questions(TRAIN))
    return replace(detector, fitted_on=(detector.fitted_on or frozenset()).union(*trained))
