"""How good a run's calibrated probabilities are on its test sets, on answers that did not make them."""

from dataclasses import dataclass

import numpy as np

from hneurons.core.rows import Row
from hneurons.core.wording import count, interval
from hneurons.detection.answer_rows import answer_rows
from hneurons.detection.decisions.calibration import LEAST, Calibration, Quality, load_calibration, measure_quality
from hneurons.detection.rivals.natural import count_drawn, natural_weights
from hneurons.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class Calibrated(Row):
    """The calibration on one test set: `answers` are those that did not make it; the quality is None where few are.

    Each answer counts for as many as were drawn of its kind, since test sets are balanced.
    """

    calibrated_on: str
    answers: int
    quality: Quality | None

    def sentence(self, name: str) -> str:
        """What it says, in one sentence."""
        made = f"{name}: probabilities calibrated on {self.calibrated_on}"
        if self.quality is None:
            return f"{made} are not tested here, where {count(self.answers, 'answer')} did not make them."
        error, brier = interval(self.quality.error), interval(self.quality.brier)
        return f"{made} have calibration error {error} and Brier score {brier} on {count(self.answers, 'answer')}."


def evaluate_calibration(run: RunFolder) -> dict[str, Calibrated]:
    """By test set, where the run's detector was calibrated; else empty. Raises `ArtifactError` for damaged files."""
    calibration = load_calibration(run.detector, run.load_detector())
    if calibration is None:
        return {}
    return {name: _on(run, name, calibration) for name in run.load_evaluation()}


def _on(run: RunFolder, name: str, calibration: Calibration) -> Calibrated:
    rows = answer_rows(run.dataset(name), name)
    drawn = count_drawn(run.load_questions(name), run.load_responses(name), run.load_judgements(name))
    log_odds = {example: value for example, _, value in run.load_evaluation()[name].items}
    made = set(calibration.groups)
    kept = np.array([group not in made for group in rows.groups], dtype=bool)
    labels = rows.labels[kept]
    if len(labels) < 2 * LEAST or labels.all() or not labels.any():
        return Calibrated(calibration.data, len(labels), None)
    values = np.array([log_odds[example.id] for example in rows.examples])[kept]
    weights = natural_weights(rows, drawn)[0][kept]
    groups = [group for group in rows.groups if group not in made]
    probabilities = calibration.calibrator.probability(values)
    method = calibration.calibrator.method
    return Calibrated(calibration.data, len(labels), measure_quality(method, probabilities, labels, weights, groups))
