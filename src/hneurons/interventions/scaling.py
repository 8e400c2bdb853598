"""Scale neurons while a model runs: z, the down-projection's input, is multiplied by alpha in the chosen columns."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from hneurons.core.errors import CaptureError, InputError
from hneurons.interventions.risk import RiskAbove, RunningRisk
from hneurons.models.language_model import LanguageModel
from hneurons.neurons.neuron_set import NeuronSet

Scope = Literal["all", "response"] | int
"""Where to scale: at all positions; where the response is predicted; or where its first k tokens are."""


class ScaleNeurons:
    """Multiply the chosen neurons' activations z by alpha while open (arXiv 2512.01797, section 3.1).

    alpha: a number; [k], one a neuron; or [rows, 1] or [rows, k], one a row of the batch. alpha = 1 is bit-exact, and
    scaling by hook equals scaling the columns of W_down. `scope` other than "all" needs `prompt_lengths`, one number
    or one a row: a position p (as in `position_ids`) belongs to the response from p = length - 1 on, the position that
    predicts its first token. With `when` a row is scaled only while the running risk of its response is above a
    threshold (`RiskAbove`, which needs `prompt_lengths`, too); rows must keep their places, so no beam search.

    A context manager: hooks stand on the selected layers only and are gone when it closes, whatever happened inside.
    Entered twice it scales once; two of them multiply. Raises `InputError` for neurons of another model, an empty set
    or an alpha of another shape, `CaptureError` on closing where the model ran without the hooks.
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
        neurons.check_model(model)
        if not len(neurons):
            raise InputError("the neuron set is empty, so there is nothing to scale: choose a set with neurons")
        factors = _factors(alpha, len(neurons))
        lengths = None if prompt_lengths is None else torch.as_tensor(prompt_lengths).reshape(-1, 1)
        self._set_up(model, neurons.columns, factors, scope, lengths, when)

    @classmethod
    def sweep(
        cls,
        model: LanguageModel,
        conditions: Sequence[tuple[NeuronSet | None, float]],
        *,
        scope: Scope = "all",
        when: RiskAbove | None = None,
    ) -> Self:
        """One object for many (neuron set, alpha): `steer` says which of them each row of the batch has.

        None stands for the model as it is.
        """
        sets = [neurons for neurons, _ in conditions if neurons is not None]
        for known in {id(known): known for known in sets}.values():
            known.check_model(model)
        columns = np.unique(np.concatenate([neurons.columns for neurons in sets] or [np.zeros(0, np.int64)]))
        factors = torch.ones(len(conditions), len(columns))
        for row, (neurons, alpha) in enumerate(conditions):
            if neurons is not None:
                factors[row, torch.from_numpy(np.searchsorted(columns, neurons.columns))] = _finite(alpha)
        scaling = cls.__new__(cls)
        scaling._set_up(model, columns, factors, scope, None, when)
        return scaling

    def _set_up(
        self,
        model: LanguageModel,
        columns: np.ndarray[Any, Any],
        factors: Tensor,
        scope: Scope,
        prompt_lengths: Tensor | None,
        when: RiskAbove | None,
    ) -> None:
        if scope not in ("all", "response") and not (type(scope) is int and scope >= 1):
            raise InputError(f"scope should be 'all', 'response' or a number of tokens from 1 on, found {scope!r}")
        if len(np.unique(columns)) < len(columns):
            raise InputError("the neuron set names a neuron twice: its alpha would be ambiguous")
        self.model, self.scope = model, scope
        layers, places = np.divmod(columns, model.shape[1])
        self._columns: dict[int, Tensor] = {}
        self._table: dict[int, Tensor] = {}
        for layer in np.unique(layers).tolist():
            chosen = torch.from_numpy(np.flatnonzero(layers == layer))
            device = model.ffns[layer].down.weight.device
            self._columns[layer] = torch.from_numpy(places)[chosen].to(device)
            self._table[layer] = factors[:, chosen].to(device)
        self._rows: Tensor | None = None
        self._continued: list[Hashable] | None = None
        self._lengths = prompt_lengths
        self._risk = RunningRisk(model, when) if when is not None else None
        self._inside: Tensor | None = None
        self._handles: list[Any] = []
        self._depth = self._passes = 0
        self._fired: dict[int, int] = {}

    def steer(
        self, conditions: Sequence[int], prompt_lengths: Sequence[int], continued: Sequence[Hashable] = ()
    ) -> None:
        """Give each row of the coming batches its row of alphas, its prompt length in tokens, and what it continues."""
        self._rows = torch.tensor(list(conditions), device=self.model.device)
        self._continued = list(continued) or [None] * len(self._rows)
        if self.scope != "all" or self._risk is not None:
            self._lengths = torch.tensor(list(prompt_lengths)).reshape(-1, 1)

    def scaled_tokens(self, key: Hashable) -> int | None:
        """With `when`: in how many tokens the response of a row (its number, or what it continued) was scaled."""
        return None if self._risk is None else self._risk.scaled_tokens(key)

    def risk(self, key: Hashable) -> float:
        """With `when`: the running risk of a row, a probability; NaN before its first response token."""
        odds = float("nan") if self._risk is None else self._risk.log_odds(key)
        return float(torch.sigmoid(torch.tensor(odds, dtype=torch.float64)))

    def __enter__(self) -> Self:
        if self._depth == 0:
            self._passes, self._fired = 0, dict.fromkeys(self._columns, 0)
            try:
                self._handles.append(self.model.decoder.register_forward_pre_hook(self._locate, with_kwargs=True))
                if self._risk is not None:
                    self._risk.forget()
                    self._handles += self._risk.attach()
                for layer in self._columns:
                    down = self.model.ffns[layer].down
                    self._handles.append(down.register_forward_pre_hook(self._scaler(layer)))
            except BaseException:
                self._remove()
                raise
        self._depth += 1
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        lost = not all(handle.id in handle.hooks_dict_ref() for handle in self._handles)
        self._remove()
        if kind is None and (lost or any(fired < self._passes for fired in self._fired.values())):
            raise CaptureError(
                "the model ran without being scaled in every layer: another library removed the hooks, or the model is "
                "compiled; load it afresh and do not compile it"
            )

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._inside = [], None

    def _locate(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before each pass of the decoder: which of its positions are to be scaled."""
        if self.scope != "all" or self._risk is not None:
            self._inside = self._choose(args, kwargs)
        self._passes += 1

    def _choose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if self._lengths is None:
            named = f"scope {self.scope!r}" if self._risk is None else "scaling by running risk"
            raise InputError(f"{named} needs prompt_lengths: the number of prompt tokens, one a row")
        ids = next(v for v in (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if v is not None)
        positions = kwargs.get("position_ids")
        if positions is None:
            past = kwargs.get("past_key_values")
            positions = torch.arange(ids.shape[1], device=ids.device)[None] + (past.get_seq_length() if past else 0)
        places = positions - self._lengths.to(positions.device)
        last = int(self.scope) if isinstance(self.scope, int) else np.iinfo(np.int64).max
        inside = (places >= -1) & (places < last - 1) if self.scope != "all" else torch.ones_like(places) > 0
        if self._risk is None:
            return inside
        rows = ids.shape[0]
        keys = list(range(rows)) if self._continued is None else self._continued
        return inside & self._risk.begin(keys, places.expand(rows, -1), inside[:, -1].expand(rows))[:, None]

    def _scaler(self, layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        columns, table = self._columns[layer], self._table[layer]

        def scale(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            self._fired[layer] += 1
            z = args[0]
            factors = table if self._rows is None else table[self._rows.to(table.device)]
            factors = self._spread(factors, z)
            part = z[..., columns]
            # The product is taken in float32, so that a low-precision model sees alpha itself and not its rounding.
            return (z.index_copy(-1, columns, (part.float() * factors).to(z.dtype)), *args[1:])

        return scale

    def _spread(self, factors: Tensor, z: Tensor) -> Tensor:
        """Factors [rows or 1, k] in a shape that broadcasts to z: [rows, tokens, k], or flattened as z is."""
        factors = factors[:, None]
        if self._inside is not None:
            factors = torch.where(self._inside.to(factors.device)[:, :, None], factors, 1.0)
        rows = factors.shape[0]
        if z.ndim == 2 and rows > 1 and z.shape[0] % rows == 0:
            factors = factors.expand(rows, z.shape[0] // rows, -1)
        if (z.ndim == 3 and rows not in (1, z.shape[0])) or (z.ndim == 2 and z.shape[0] % rows):
            raise InputError(f"alpha is given for {rows} rows, but the batch has {z.shape[0]}: give one a row")
        return factors.reshape(-1, factors.shape[-1]) if z.ndim == 2 else factors


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


def _finite(alpha: float) -> float:
    return float(_factors(alpha, 1)[0, 0])
