"""When to scale: only while the detector takes the response so far for made up."""

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


@dataclass(frozen=True)
class RiskAbove:
    """Scale a row only while the running risk of its response is above `threshold`, a probability.

    Running risk: the detector's probability of a made-up answer for the mean of its signal over the response tokens run
    so far. The prompt does not count. The decision about a token rests on those before it, so the second response token
    is the first that can be scaled. z is measured before it is scaled, h as it is. Above 0 is always, above 1 never.

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


@dataclass
class _Row:
    """One response: the sum of its tokens' scores, how many there were, and in how many the row was scaled."""

    score: float = 0.0
    tokens: int = 0
    scaled: int = 0


class RunningRisk:
    """The detector's log odds of every response while it is generated, one token a pass.

    As the detector is linear in the mean of its signal, one number a row is kept: the sum over tokens of
    sum_j coef_j signal_j; for CETT that is sum_j coef_j |z_j| ||W_down[:,j]|| / ||h||.
    """

    def __init__(self, model: LanguageModel, when: RiskAbove) -> None:
        when.detector.neuron_set().check_model(model)
        self.model, self.when = model, when
        self.signal = SIGNALS.get(when.detector.signal)
        layers, places = np.divmod(when.detector.columns, self.signal.width(model))
        scale = self.signal.scale(model)
        self._columns: dict[int, Tensor] = {}
        self._weights: dict[int, Tensor] = {}
        for layer in np.unique(layers).tolist():
            columns, coef = torch.from_numpy(places[layers == layer]), when.detector.coef[layers == layer]
            device = model.ffns[layer].down.weight.device
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
        return self.when.detector.intercept + row.score / row.tokens

    def scaled_tokens(self, key: Hashable) -> int:
        """In how many of its tokens a response was scaled."""
        return self._rows[key].scaled if key in self._rows else 0

    def attach(self) -> list[Any]:
        """Hooks that measure; ahead of those that scale, so that z is seen before it is changed."""
        handles = [self.model.decoder.register_forward_hook(self._end)]
        for layer in self._columns:
            down = self.model.ffns[layer].down
            handles.append(down.register_forward_pre_hook(self._reader(layer), prepend=True))
            handles.append(down.register_forward_hook(self._divider(layer)))
        return handles

    def begin(self, keys: Sequence[Hashable], places: Tensor, allowed: Tensor) -> Tensor:
        """Before a pass: which rows to scale, bool [rows].

        keys: what each row continues, None where nothing; places: int64 [rows, tokens], 0 being the first response
        token; allowed: bool [rows], whether the scope covers the token. Raises `InputError` where response tokens come
        several at a time or out of order: the risk of a token is known only when those before it have been run.
        """
        self._inputs, self._scores, self._keys = None, {}, [None] * len(keys)
        last, active = places[:, -1].tolist(), [False] * len(keys)
        if places.shape[1] == 1:
            self._inputs = {}
            for row, (key, place, inside) in enumerate(zip(keys, last, allowed.tolist(), strict=True)):
                if key is not None and place >= 0:
                    self._keys[row] = key
                    self._follow(key, place)
                    active[row] = inside and self._above(key, place)
                    self._rows[key].scaled += active[row]
        elif max((place for key, place in zip(keys, last, strict=True) if key is not None), default=-1) >= 0:
            raise InputError("scaling by running risk works token by token: run the prompt, then one token a pass")
        return torch.tensor(active, device=places.device)

    def _above(self, key: Hashable, place: int) -> bool:
        return place > 0 and self.log_odds(key) > self.when.log_odds

    def _follow(self, key: Hashable, place: int) -> None:
        """Make sure that a response's token comes after all those before it; its first starts it anew."""
        if place == 0:
            self._rows[key] = _Row()
        found = self._rows[key].tokens if key in self._rows else 0
        if found != place:
            raise InputError(
                f"token {place + 1} of a response came when {found} had been run: scaling by running risk needs every "
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
