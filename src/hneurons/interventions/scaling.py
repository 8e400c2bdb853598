"""Scale neurons while a model runs: z, the down-projection's input, is multiplied by alpha in the chosen columns."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from hneurons.core.errors import InputError
from hneurons.interventions.gate import RiskAbove
from hneurons.interventions.intervention import Edit, Rows, Scope
from hneurons.interventions.steering import Steer
from hneurons.models.language_model import LanguageModel
from hneurons.neurons.neuron_set import NeuronSet


@dataclass(frozen=True)
class NeuronScaling:
    """Multiply the activations z of some neurons by alpha (arXiv 2512.01797, section 3.1); an `Intervention`.

    Scaling at all positions equals scaling the neurons' columns of W_down. alpha = 1 is bit-exact. Raises `InputError`
    for an alpha that is no finite number.
    """

    neurons: NeuronSet
    alpha: float = 1.0
    scope: Scope = "all"
    when: RiskAbove | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.alpha, int | float) or not math.isfinite(self.alpha):
            raise InputError(f"alpha should be a finite number, such as 0, 0.5 or 2; found {self.alpha!r}")

    @property
    def no_op(self) -> float:
        """1, as alpha multiplies."""
        return 1.0

    @property
    def kind(self) -> str:
        """ "selected", or "random_" and the kind of control that was drawn."""
        control = self.neurons.data.get("control")
        return f"random_{control}" if control else "selected"

    def at(self, alpha: float) -> Self:
        """The same neurons scaled by another alpha."""
        return replace(self, alpha=alpha)

    def identity(self) -> list[int]:
        """The neurons as columns, layer * neurons_per_layer + neuron."""
        columns: list[int] = self.neurons.columns.tolist()
        return columns

    def check_model(self, model: LanguageModel) -> None:
        """Raise `InputError` for neurons of another model, an empty or ambiguous set, or an alpha beyond float32."""
        self.neurons.check_model(model)
        if not len(self.neurons):
            raise InputError("the neuron set is empty, so there is nothing to scale: choose a set with neurons")
        if len(np.unique(self.neurons.columns)) < len(self.neurons):
            raise InputError("the neuron set names a neuron twice: its alpha would be ambiguous")
        _factors(self.alpha, 1)

    @classmethod
    def edits(cls, model: LanguageModel, conditions: Sequence[Self | None], rows: Rows) -> list[Edit]:
        """One edit for each layer in which any condition has a neuron."""
        columns = np.unique(np.concatenate([one.neurons.columns for one in conditions if one is not None]))
        factors = torch.ones(len(conditions), len(columns))
        for row, one in enumerate(conditions):
            if one is not None:
                factors[row, torch.from_numpy(np.searchsorted(columns, one.neurons.columns))] = one.alpha
        return scale_columns(model, columns, factors, rows)


def scale_columns(model: LanguageModel, columns: np.ndarray[Any, Any], factors: Tensor, rows: Rows) -> list[Edit]:
    """Edits that multiply neurons (int64 [k]) by the factors of each condition, float32 [conditions, k]."""
    layers, places = np.divmod(columns, model.shape[1])
    edits = []
    for layer in np.unique(layers).tolist():
        ffn, chosen = model.ffns[layer], torch.from_numpy(np.flatnonzero(layers == layer))
        picked, table = torch.from_numpy(places)[chosen].to(ffn.device), factors[:, chosen].to(ffn.device)
        edits.append(Edit(ffn.down, "input", _scaler(picked, table, rows)))
    return edits


def _scaler(columns: Tensor, table: Tensor, rows: Rows) -> Callable[[Tensor], Tensor]:
    def scale(z: Tensor) -> Tensor:
        factors, part = rows.spread(table, z, 1.0), z[..., columns]
        # The product is taken in float32, so that a low-precision model sees alpha itself and not its rounding.
        return z.index_copy(-1, columns, (part.float() * factors).to(z.dtype))

    return scale


class ScaleNeurons(Steer):
    """Multiply the chosen neurons' activations z by alpha while open (arXiv 2512.01797, section 3.1).

    alpha: a number; [k], one a neuron; or [rows, 1] or [rows, k], one a row of the batch. Everything else is as in
    `Steer`. Raises `InputError` for neurons of another model, an empty set or an alpha of another shape.
    """

    def __init__(
        self,
        model: LanguageModel,
        neurons: NeuronSet,
        alpha: float | Sequence[float] | Tensor,
        *,
        scope: Scope = "all",
        prompt_lengths: int | Sequence[int] | None = None,
        when: RiskAbove | None = None,
    ) -> None:
        super().__init__(model, NeuronScaling(neurons, scope=scope, when=when), prompt_lengths=prompt_lengths)
        self.neurons, self.factors = neurons, _factors(alpha, len(neurons))

    def edits(self) -> list[Edit]:
        """The edits that scale each row by its own factors."""
        return scale_columns(self.model, self.neurons.columns, self.factors, self)


def _factors(alpha: float | Sequence[float] | Tensor, neurons: int) -> Tensor:
    """alpha as float32 [rows or 1, neurons]. Raises `InputError` for another shape or what is no finite number."""
    try:
        given = torch.as_tensor(alpha, dtype=torch.float32).detach().cpu()
        if given.ndim > 2 or not given.numel():
            raise ValueError
        factors = given.expand(given.shape[0] if given.ndim == 2 else 1, neurons).contiguous()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"alpha should be a number, {neurons} numbers (one a neuron) or a table [rows, 1 or {neurons}], "
            f"found {str(alpha)[:60]}"
        ) from error
    if not bool(torch.isfinite(factors).all()):
        raise InputError(f"alpha should be finite, found {str(alpha)[:60]}")
    return factors
