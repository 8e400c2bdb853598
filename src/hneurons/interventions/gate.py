"""When to intervene: only while the detector takes the response so far for made up."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from hneurons.core.errors import InputError
from hneurons.core.seeds import fingerprint
from hneurons.detection.detector import Detector
from hneurons.detection.token_risk import RunningRisk
from hneurons.models.language_model import LanguageModel


@dataclass(frozen=True)
class RiskAbove:
    """Intervene in a row only while the running risk of its response is above `threshold`, a probability.

    The running risk is the detector's probability of a made-up answer for the mean CETT over the response tokens run
    so far. The prompt does not count. The decision about a token rests on those before it, so the second response
    token is the first that can be changed. The input z is measured before it is changed, and h as it is. A threshold
    of 0 means always, and 1 means never.

    Raises `InputError` for a threshold that is no probability and for a detector without neurons.
    """

    detector: Detector
    threshold: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise InputError(f"the risk from which to scale should be between 0 and 1, found {self.threshold}")
        if not len(self.detector.columns):
            raise InputError("the detector has no neurons, so there is no running risk to go by: fit one that has")

    @property
    def log_odds(self) -> float:
        """The threshold as log odds."""
        if self.threshold in (0, 1):
            return -math.inf if self.threshold == 0 else math.inf
        return math.log(self.threshold / (1 - self.threshold))

    def describe(self) -> str:
        """What determines the gate, in words, as manifests record it."""
        detector = self.detector
        fitted = fingerprint([detector.columns.tolist(), detector.coef.tolist(), detector.intercept])
        return f"risk above {self.threshold:g} by detector {fitted}"


class RiskGate:
    """A `RiskAbove` at work: which rows are open in each pass, and in how many of its tokens each response was."""

    def __init__(self, model: LanguageModel, when: RiskAbove) -> None:
        self.when, self.risk = when, RunningRisk(model, when.detector)
        self._open: dict[Hashable, int] = {}

    def attach(self) -> list[Any]:
        """Start with no response at all, and register the hooks that measure."""
        self.risk.forget()
        self._open = {}
        return self.risk.attach()

    def opened(self, key: Hashable) -> int:
        """In how many of its tokens a response was open."""
        return self._open.get(key, 0)

    def begin(
        self, keys: Sequence[Hashable], places: Sequence[int], tokens: int, allowed: Sequence[bool]
    ) -> list[bool]:
        """Which rows are open in the coming pass.

        keys, places, tokens: as for `RunningRisk.begin`, which raises `InputError`; allowed: whether the scope covers
        each row's last token.
        """
        rows = []
        for key, place, inside in zip(self.risk.begin(keys, places, tokens), places, allowed, strict=True):
            is_open = key is not None and inside and self.risk.log_odds(key) > self.when.log_odds
            if key is not None:
                self._open[key] = (self._open.get(key, 0) if place else 0) + is_open
            rows.append(is_open)
        return rows
