"""The running risk of responses: a detector's log odds after every token, while they are generated."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from hneurons.core.errors import InputError
from hneurons.detection.detector import Detector
from hneurons.detection.token_scores import TokenScores
from hneurons.models.language_model import LanguageModel


@dataclass
class _Row:
    """One response: the sum of its tokens' scores, and how many there were."""

    score: float = 0.0
    tokens: int = 0


class RunningRisk:
    """The detector's log odds of every response while it is generated, one token a pass.

    The log odds are those of the mean signal over the response tokens that were run so far (`TokenScores`). The prompt
    does not count.

    Raises `InputError` for a detector of another model, or one that has no neurons.
    """

    def __init__(self, model: LanguageModel, detector: Detector) -> None:
        self.model, self.detector = model, detector
        self._scores = TokenScores(model, detector)
        self.forget()

    def forget(self) -> None:
        """Start with no response at all."""
        self._rows: dict[Hashable, _Row] = {}
        self._keys: list[Hashable] = []
        self._scores.reading = False

    def log_odds(self, key: Hashable) -> float:
        """The detector's log odds for a response's tokens so far; NaN before the first."""
        row = self._rows.get(key)
        if row is None or not row.tokens:
            return math.nan
        return self.detector.intercept + row.score / row.tokens

    def attach(self) -> list[Any]:
        """Register the hooks that measure. They stand ahead of others, so that z is seen before it is changed."""
        return [self.model.decoder.register_forward_hook(self._end), *self._scores.attach()]

    def begin(self, keys: Sequence[Hashable], places: Sequence[int], tokens: int) -> list[Hashable]:
        """Prepare for a pass. The result names the response that each row goes on with, None where there is none.

        keys: what each row continues, None where nothing. places: the place of each row's last token, 0 being the
        first response token. tokens: how many each row runs. Raises `InputError` where response tokens come several
        at a time or out of order: the risk of a token is known only when those before it have been run.
        """
        self._scores.reading, self._keys = tokens == 1, [None] * len(keys)
        if tokens == 1:
            for row, (key, place) in enumerate(zip(keys, places, strict=True)):
                if key is not None and place >= 0:
                    self._keys[row] = key
                    self._follow(key, place)
        elif max((place for key, place in zip(keys, places, strict=True) if key is not None), default=-1) >= 0:
            raise InputError("the running risk is measured token by token: run the prompt, then one token a pass")
        return self._keys

    def _follow(self, key: Hashable, place: int) -> None:
        """Make sure that a response's token comes after all those before it; its first starts it anew."""
        if place == 0:
            self._rows[key] = _Row()
        found = self._rows[key].tokens if key in self._rows else 0
        if found != place:
            raise InputError(
                f"token {place + 1} of a response came when {found} had been run: the running risk needs every "
                "token once and in order, without assisted generation"
            )

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        """After a pass: add its token to every response."""
        if not self._scores.reading:
            return
        self._scores.reading = False
        for key, score in zip(self._keys, self._scores.take().reshape(-1).tolist(), strict=True):
            if key is not None:
                self._rows[key].score += score
                self._rows[key].tokens += 1
