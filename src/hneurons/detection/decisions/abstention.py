"""Abstention with a guarantee: the largest share of answers whose precision is shown to be high enough."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.files import write_checked
from hneurons.core.rows import Row
from hneurons.core.seeds import derive_seed, fingerprint
from hneurons.core.showing import one_line
from hneurons.core.stats import Estimate, wilson
from hneurons.core.wording import count, number, percent
from hneurons.detection.decisions.beside import load_beside
from hneurons.detection.decisions.drift import Reference, make_reference
from hneurons.detection.decisions.fixed_sequence import (
    Step,
    check_targets,
    fix_thresholds,
    last_passed,
    least_answered,
    lower_bound,
    run_sequence,
    run_thresholds,
    upper_bound,
)
from hneurons.detection.decisions.labelled import LabelledScore, LabelledScores, one_per_group
from hneurons.detection.decisions.risk_coverage import RiskCoverage, measure_curve
from hneurons.detection.detector import Detector

GUARANTEE_JSON = "guarantee.json"
Method = Literal["order", "fixed"]
LEAST = 10
"""Answers below which nothing is tried."""


@dataclass(frozen=True, slots=True)
class Untouched(Row):
    """What the threshold does on answers that did not choose it.

    - `precision`: the share of right answers among those answered; `precision_bound`: its exact lower bound.
    - `withheld`: the share of the right answers that is not answered; `withheld_bound`: its exact upper bound.

    The intervals are Wilson's at 95%, the bounds hold at the guarantee's confidence.
    """

    answers: int
    coverage: Estimate
    precision: Estimate
    precision_bound: float
    withheld: Estimate
    withheld_bound: float


@dataclass(frozen=True, slots=True)
class Guarantee(Row):
    """A threshold on log odds, and what is shown of the answers below it.

    - `threshold`: NaN where no threshold is shown to be good enough; then nothing is answered.
    - `answers`: how many labelled answers chose it; `steps`: every test, with counts and bounds.
    - `coverage`: the share of these answers that is answered.
    - `untouched`: None where nothing is answered or no answer was kept apart.
    - `rows`: all labelled answers, from which another target needs no model.
    - `method`: how thresholds were tested; see `guarantee_precision`.
    - `reference`: what new answers are compared with, to tell whether the guarantee is for them.
    """

    detector: str
    data: str
    target_precision: float
    confidence: float
    answers: int
    left_out: dict[str, int]
    error_rate: float
    threshold: float
    coverage: float
    steps: tuple[Step, ...]
    untouched: Untouched | None
    curve: RiskCoverage
    rows: tuple[LabelledScore, ...]
    reference: Reference
    method: Method = "order"

    def __repr__(self) -> str:
        said = f"{number(100 * self.coverage, 0)}% answered" if self.found else "no threshold"
        return one_line(self, said, f"precision {self.target_precision:g} at confidence {self.confidence:g}", self.data)

    @property
    def found(self) -> bool:
        """Whether there is a threshold."""
        return math.isfinite(self.threshold)

    @property
    def content(self) -> str:
        """16 hex digits of it."""
        return fingerprint(self.to_row())

    def answer(self, log_odds: float) -> bool:
        """Whether an answer with these log odds is given rather than withheld."""
        return self.found and log_odds < self.threshold

    def save(self, folder: Path) -> Path:
        """Write `guarantee.json` beside a detector. Raises `StorageError`."""
        write_checked(folder / GUARANTEE_JSON, self.to_row())
        return folder / GUARANTEE_JSON


def guarantee_precision(
    scores: LabelledScores,
    *,
    target_precision: float = 0.9,
    confidence: float = 0.9,
    method: Method = "order",
    seed: int = 0,
) -> Guarantee:
    """Choose the threshold below which at least `target_precision` of the answers are right, with this confidence.

    One answer of each group counts. A third of them, drawn by `seed`, chooses nothing and shows what the threshold
    does. That no threshold is found is a result.

    - `order`: thresholds at order statistics (`run_sequence`). It assumes that the error rate does not fall where more
      is answered.
    - `fixed`: thresholds at quantiles of the third that is kept apart (`run_thresholds`), without that assumption.

    Raises what `check_guarantee` raises, and `NotEnoughDataError` for fewer than ten answers.
    """
    check_guarantee(target_precision, confidence, method)
    scores = one_per_group(scores)
    if len(scores.rows) < LEAST:
        raise NotEnoughDataError(
            f"'{scores.name}' has {count(len(scores.rows), 'labelled answer')}, and a guarantee needs at least {LEAST} "
            f"to be tried and {least_answered(1 - target_precision, confidence)} answered ones to succeed: label more"
        )
    apart = np.array([derive_seed("untouched", seed, row.group) % 3 == 0 for row in scores.rows], dtype=bool)
    log_odds, wrong = scores.log_odds, scores.wrong
    own, labels, risk = log_odds[~apart], wrong[~apart], 1 - target_precision
    if method == "order":
        steps = run_sequence(own, labels, risk, confidence)
    else:
        steps = run_thresholds(own, labels, fix_thresholds(log_odds[apart]), risk, confidence)
    passed = last_passed(steps)
    threshold = passed.threshold if passed else math.nan
    below = log_odds < threshold
    return Guarantee(
        detector=scores.detector,
        data=scores.name,
        target_precision=target_precision,
        confidence=confidence,
        answers=int((~apart).sum()),
        left_out=scores.left_out,
        error_rate=scores.error_rate,
        threshold=threshold,
        coverage=float(below[~apart].mean()) if (~apart).any() else 0.0,
        steps=tuple(steps),
        untouched=_untouched(below[apart], wrong[apart], confidence) if passed and apart.any() else None,
        curve=measure_curve(log_odds, wrong, seed=seed),
        rows=tuple(replace(row, contributions=()) for row in scores.rows),
        reference=make_reference(log_odds, scores.contributions, apart),
        method=method,
    )


def check_guarantee(target_precision: float, confidence: float, method: str) -> None:
    """Raise `InputError` for targets that `check_targets` refuses, and for a method that is not known."""
    check_targets(target_precision, confidence)
    if method not in get_args(Method):
        raise InputError(f"unknown method '{method}': known are {', '.join(get_args(Method))}")


def _untouched(answered: np.ndarray, wrong: np.ndarray, confidence: float) -> Untouched:
    given, right = int(answered.sum()), int((~wrong).sum())
    good, held = int((answered & ~wrong).sum()), int((~answered & ~wrong).sum())
    return Untouched(
        answers=len(wrong),
        coverage=wilson(given, len(wrong)),
        precision=wilson(good, given),
        precision_bound=lower_bound(good, given, confidence) if given else 0.0,
        withheld=wilson(held, right),
        withheld_bound=upper_bound(held, right, confidence) if right else 1.0,
    )


def load_guarantee(folder: Path, detector: Detector) -> Guarantee | None:
    """The guarantee beside a detector; None where there is none.

    Raises `ArtifactError` where it is damaged or of another detector.
    """
    return load_beside(folder / GUARANTEE_JSON, Guarantee, detector, verb="abstain")


def describe_guarantee(found: Guarantee) -> str:
    """In words what is guaranteed, on which data and under which conditions; or that nothing is."""
    wanted = f"a precision of at least {found.target_precision:g} at confidence {found.confidence:g}"
    on = f"{count(found.answers, 'labelled answer')} of {found.data}"
    if not found.found:
        first = found.steps[0] if found.steps else None
        least = least_answered(1 - found.target_precision, found.confidence)
        reason = (
            f"of the {first.answered} most certain answers {first.errors} are wrong, and {first.allowed} may be"
            if first
            else f"at least {least} answered ones are needed"
        )
        return f"No threshold exists that shows {wanted} on {on}: {reason}. Nothing should be answered on its strength."
    return (
        f"Answers with log odds below {number(found.threshold, 3)} have {wanted}, shown on {on}; "
        f"{number(100 * found.coverage, 1)}% of them are answered. It holds for answers drawn like these."
    )


def describe_untouched(found: Untouched, confidence: float) -> str:
    """In words what the threshold does on answers that did not choose it."""
    return (
        f"On {count(found.answers, 'untouched answer')}: {percent(found.coverage)}% answered, precision "
        f"{percent(found.precision)}% (at least {number(100 * found.precision_bound, 1)}% at confidence "
        f"{confidence:g}); {percent(found.withheld)}% of the right answers withheld (at most "
        f"{number(100 * found.withheld_bound, 1)}%)."
    )
