"""What a detector adds up at every token: sum_j coef_j signal_j, read by hooks in the layers of its neurons alone."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hneurons.core.errors import CaptureError, InputError
from hneurons.detection.detector import Detector
from hneurons.models.language_model import LanguageModel
from hneurons.neurons.signals import SIGNALS


class TokenScores:
    """Hooks that read a detector's score of every token a pass runs, while `reading` is set.

    The detector is linear in the mean signal over tokens. Its log odds of some tokens are therefore its intercept plus
    the mean of their scores. For CETT a token's score is sum_j coef_j |z_j| ||W_down[:,j]|| / ||h||. With `split` the
    addends, which are the contributions of single neurons, can be taken, too.

    Raises `InputError` for a detector of another model, or one that has no neurons.
    """

    def __init__(self, model: LanguageModel, detector: Detector, *, split: bool = False) -> None:
        detector.neuron_set().check_model(model)
        if not len(detector.columns):
            raise InputError("the detector has no neurons, so no token has a risk to go by: fit one that has")
        self.model, self.detector, self.reading, self._split = model, detector, False, split
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
        self._places = {layer: np.flatnonzero(layers == layer) for layer in self._columns}
        self._parts: dict[int, Tensor] = {}
        self._inputs: dict[int, Tensor] = {}
        self._scores: dict[int, Tensor] = {}

    def attach(self) -> list[Any]:
        """Register the hooks that measure. They stand ahead of others, so that z is seen before it is changed."""
        handles = []
        for layer in self._columns:
            down = self.model.ffns[layer].down
            handles.append(down.register_forward_pre_hook(self._reader(layer), prepend=True))
            handles.append(down.register_forward_hook(self._divider(layer)))
        return handles

    def take(self) -> Tensor:
        """The scores of the last pass, float32, shaped as the layers' tokens: [rows, tokens], or both flattened.

        Raises `CaptureError` where a layer's hooks did not fire.
        """
        scores, self._scores, self._inputs = self._scores, {}, {}
        if len(scores) < len(self._columns):
            raise CaptureError(
                "the risk was not measured in every layer: another library removed the hooks, or the model is "
                "compiled; load it afresh and do not compile it"
            )
        return torch.stack([found.to(self.model.device) for found in scores.values()]).sum(dim=0)

    def take_parts(self) -> Tensor:
        """The addends of the scores of the last pass, float32 [tokens, neurons], in the order of the detector's.

        Tokens are flattened, row by row. It goes with `take`, which checks that all are there.
        """
        parts, self._parts = self._parts, {}
        tokens = next(iter(parts.values())).shape[0]
        found = torch.empty(tokens, len(self.detector.columns), device=self.model.device)
        for layer, values in parts.items():
            found[:, torch.from_numpy(self._places[layer]).to(found.device)] = values.to(found.device)
        return found

    def _reader(self, layer: int) -> Any:
        def read(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if self.reading:
                self._inputs[layer] = args[0]

        return read

    def _divider(self, layer: int) -> Any:
        columns, weights = self._columns[layer], self._weights[layer]

        def divide(module: nn.Module, args: tuple[Tensor, ...], h: Tensor) -> None:
            if self.reading:
                values = self.signal.read(layer, self._inputs.pop(layer), h, columns)
                scores, divisor = values @ weights, self.signal.divisor(h)
                if self._split:
                    parts = (values * weights).reshape(-1, len(weights))
                    self._parts[layer] = parts if divisor is None else parts / divisor.reshape(-1, 1)
                self._scores[layer] = scores if divisor is None else scores / divisor

        return divide
