"""The running risk of responses: a detector's log odds after every token, while they are generated."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hneurons.core.errors import CaptureError, InputError
from hneurons.detection.detector import Detector
from hneurons.models.language_model import LanguageModel
from hneurons.neurons.signals import SIGNALS


@dataclass
class _Row:
    """One response: the sum of its tokens' scores, and how many there were."""

    score: float = 0.0
    tokens: int = 0


class RunningRisk:
    """The detector's log odds of every response while it is generated, one token a pass.

    The log odds are those of the mean signal over the response tokens that were run so far. The prompt does not count.
    The detector is linear in that mean, so one number a row is kept: the sum over tokens of sum_j coef_j signal_j. For
    CETT that is sum_j coef_j |z_j| ||W_down[:,j]|| / ||h||.

    Raises `InputError` for a detector of another model, or one that has no neurons.
    """

    def __init__(self, model: LanguageModel, detector: Detector) -> None:
        detector.neuron_set().check_model(model)
        if not len(detector.columns):
            raise InputError("the detector has no neurons, so there is no running risk to go by: fit one that has")
        self.model, self.detector = model, detector
        self.signal = SIGNALS.get(detector.signal)
        layers, places = np.divmod(detector.columns, self.signal.width(model))
        scale = self.signal.scale(model)
        self._columns: dict[int, Tensor] = {}
        self._weights: dict[int, Tensor] = {}
        for layer in np.unique(layers).tolist():
            columns, coef = torch.from_numpy(places[layers == layer]), detector.coef[layers == layer]
            device = model.ffns[layer].device
            self._columns[layer] = columns.to(device)
            weights = torch.from_numpy(coef).float().to(device)
            if scale is not None:
                weights = scale[layer][columns.to(scale.device)].to(device) * weights
            self._weights[layer] = weights
        self.forget()

    def forget(self) -> None:
        """Start with no response at all."""
        self._rows: dict[Hashable, _Row] = {}
        self._keys: list[Hashable] = []
        self._inputs: dict[int, Tensor] | None = None
        self._scores: dict[int, Tensor] = {}

    def log_odds(self, key: Hashable) -> float:
        """The detector's log odds for a response's tokens so far; NaN before the first."""
        row = self._rows.get(key)
        if row is None or not row.tokens:
            return math.nan
        return self.detector.intercept + row.score / row.tokens

    def attach(self) -> list[Any]:
        """Register the hooks that measure. They stand ahead of others, so that z is seen before it is changed."""
        handles = [self.model.decoder.register_forward_hook(self._end)]
        for layer in self._columns:
            down = self.model.ffns[layer].down
            handles.append(down.register_forward_pre_hook(self._reader(layer), prepend=True))
            handles.append(down.register_forward_hook(self._divider(layer)))
        return handles

    def begin(self, keys: Sequence[Hashable], places: Sequence[int], tokens: int) -> list[Hashable]:
        """Prepare for a pass. The result names the response that each row goes on with, None where there is none.

        keys: what each row continues, None where nothing. places: the place of each row's last token, 0 being the
        first response token. tokens: how many each row runs. Raises `InputError` where response tokens come several
        at a time or out of order: the risk of a token is known only when those before it have been run.
        """
        self._inputs, self._scores, self._keys = None, {}, [None] * len(keys)
        if tokens == 1:
            self._inputs = {}
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

    def _reader(self, layer: int) -> Any:
        def read(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if self._inputs is not None:
                self._inputs[layer] = args[0]

        return read

    def _divider(self, layer: int) -> Any:
        columns, weights = self._columns[layer], self._weights[layer]

        def divide(module: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
            if self._inputs is not None:
                scores = self.signal.read(layer, self._inputs.pop(layer), h, columns) @ weights
                divisor = self.signal.divisor(h)
                self._scores[layer] = (scores if divisor is None else scores / divisor).reshape(-1)

        return divide

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        """After a pass: add its token to every response."""
        if self._inputs is None:
            return
        self._inputs = None
        if len(self._scores) < len(self._columns):
            raise CaptureError(
                "the running risk was not measured in every layer: another library removed the hooks, or the model is "
                "compiled; load it afresh and do not compile it"
            )
        total = torch.stack([scores.to(self.model.device) for scores in self._scores.values()]).sum(dim=0)
        for key, score in zip(self._keys, total.tolist(), strict=True):
            if key is not None:
                self._rows[key].score += score
                self._rows[key].tokens += 1
