"""A signal: the share of a token's output energy that one neuron brings."""

import torch
from torch import Tensor

from hneurons.models.language_model import LanguageModel


class Energy:
    """The square of CETT: z^2 ||column||^2 / ||h||^2."""

    def width(self, model: LanguageModel) -> int:
        return model.shape[1]

    def read(self, layer: int, z: Tensor, h: Tensor, columns: Tensor | None = None) -> Tensor:
        return (z if columns is None else z[..., columns]).float().square()

    def divisor(self, h: Tensor) -> Tensor:
        return h.float().square().sum(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)

    def scale(self, model: LanguageModel) -> Tensor:
        return model.column_norms.square()


ENERGY = Energy()
