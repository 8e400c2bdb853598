"""The values of a comparison with rivals, as they are stored and shown."""

from dataclasses import dataclass

from hneurons.core.rows import Row
from hneurons.core.stats import Estimate


@dataclass(frozen=True, slots=True)
class Natural(Row):
    """A score on answers as they were drawn, not balanced: each row counts for the answers its kind stands for.

    brier, calibration_error: of a logistic calibration on the other half of the questions.
    """

    auroc: Estimate
    average_precision: float
    brier: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class Rival(Row):
    """One score on one dataset.

    - `needs`: the dearest thing it reads; `passes`, `samples`: further forward passes and answers to the question;
      `bytes`: what is stored an answer.
    - `milliseconds`: wall time an answer took, NaN where it was not measured.
    - `auroc`: with an interval over test questions. `refitted`: the same with an interval that includes refitting on
      resampled training questions; None where nothing is fitted, or nothing can be fitted again.
    - `ahead`: AUROC of the detector minus this score's, paired; `p`: two-sided, by the bootstrap; `p_holm`: corrected
      for all scores of the dataset. None for the detector itself.
    - `kinds`: AUROC against right answers by kind of wrong answer.
    """

    method: str
    needs: str
    fitted: bool
    passes: float
    samples: float
    bytes: float
    auroc: Estimate
    refitted: Estimate | None
    ahead: Estimate | None
    p: float
    p_holm: float
    natural: Natural | None
    kinds: dict[str, Estimate]
    milliseconds: float = float("nan")


@dataclass(frozen=True, slots=True)
class Stack(Row):
    """A logistic stack of scores without and with the detector's: what the neurons add to them.

    added: AUROC with minus without; saved: log-loss without minus with. Both are paired, and above 0 where the
    neurons help.
    """

    name: str
    reads: tuple[str, ...]
    without: Estimate
    with_neurons: Estimate
    added: Estimate
    saved: Estimate


@dataclass(frozen=True, slots=True)
class CurvePoint(Row):
    """AUROC of ridge on so many random neurons: mean, lowest and highest of the draws."""

    neurons: int
    draws: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison(Row):
    """Everything about one dataset.

    - `within`: AUROC of the detector among answers alike in length, confidence, or relation.
    - `partial`: rank correlation of the detector with the class, length and confidence taken out of both.
    - `kinds`: wrong answers by kind; `abstained`: answers left out because they abstain.
    - `uncovered`: share of the drawn answers for which no row stands; NaN where it is not known what was drawn.
    - `meanings`: who said which samples mean the same, and by which rule.
    - `reading`: what the neurons add, in one sentence.
    """

    name: str
    right: int
    wrong: int
    rivals: tuple[Rival, ...]
    left_out: dict[str, str]
    stacks: tuple[Stack, ...]
    within: dict[str, Estimate]
    partial: Estimate
    curve: tuple[CurvePoint, ...]
    kinds: dict[str, int]
    abstained: int
    prevalence: float
    uncovered: float
    reading: str
    meanings: str = "strings"
