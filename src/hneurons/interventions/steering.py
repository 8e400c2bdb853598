"""Interventions at work: hooks on a model, one condition a row, positions by scope and gate, no trace afterwards."""

from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from hneurons.core.errors import CaptureError, InputError
from hneurons.interventions.gate import RiskGate
from hneurons.interventions.intervention import Edit, Intervention, Untouched, is_no_op, prompt_reach
from hneurons.models.language_model import LanguageModel

_FAR = int(np.iinfo(np.int64).max)


class Steer:
    """Run interventions on a model while open.

    `conditions` is one intervention for all rows, or several: one a row of the batch, or as `steer` says before each
    pass. A scope other than "all" and a gate need `prompt_lengths`, one number or one a row. A position p (as in
    `position_ids`) belongs to the response from p = length - 1 on. That position predicts its first token. With a
    gate, rows must keep their places, so beam search is out.

    A context manager: its hooks are gone when it closes, whatever happened inside. Entered twice it acts once; two of
    them act one after the other. Raises `InputError` for interventions in another model, several gates, or a scope that
    is none of those known; on closing `CaptureError` where the model ran without the hooks.
    """

    def __init__(
        self,
        model: LanguageModel,
        conditions: Intervention | Sequence[Intervention],
        *,
        prompt_lengths: int | Sequence[int] | None = None,
    ) -> None:
        self.model = model
        self.conditions: list[Intervention] = list(conditions) if isinstance(conditions, Sequence) else [conditions]
        acting = [one for one in self.conditions if not isinstance(one, Untouched)]
        for one in {id(one): one for one in acting}.values():
            one.check_model(model)
        bounds = torch.tensor([_bounds(one) for one in self.conditions])
        self._first, self._last = bounds[:, :1], bounds[:, 1:]
        gates = {id(one.when): one.when for one in acting}
        if len(gates) > 1:
            raise InputError("interventions that run in one batch need the same gate, or none: run the others apart")
        when = next(iter(gates.values()), None)
        self._gate = RiskGate(model, when) if when is not None else None
        self._everywhere = when is None and all(one.scope == "all" for one in self.conditions)
        self._lengths = None if prompt_lengths is None else torch.as_tensor(prompt_lengths).reshape(-1, 1)
        self._rows: Tensor | None = None
        self._continued: list[Hashable] | None = None
        self._inside: Tensor | None = None
        self._idle = False
        self._handles: list[Any] = []
        self._depth = self._passes = 0
        self._fired: list[int] = []

    @property
    def reach(self) -> int | None:
        """How many of the last positions of a prompt any of the conditions may change; None stands for all."""
        found = [prompt_reach(one) for one in self.conditions]
        return None if None in found else max((reach for reach in found if reach is not None), default=0)

    def lasts(self, condition: int) -> bool:
        """Whether a response under this condition is changed as it will be when it is part of a prompt."""
        one = self.conditions[condition]
        return is_no_op(one) or (one.scope == "all" and one.when is None)

    def steer(
        self, conditions: Sequence[int], prompt_lengths: Sequence[int], continued: Sequence[Hashable] = ()
    ) -> None:
        """Give each row of the coming batches its condition, its prompt length in tokens, and what it continues."""
        self._rows = torch.tensor(list(conditions), device=self.model.device)
        self._continued = list(continued) or [None] * len(self._rows)
        self._lengths = torch.tensor(list(prompt_lengths)).reshape(-1, 1)

    def scaled_tokens(self, key: Hashable) -> int | None:
        """With a gate: in how many tokens it was open for the response of a row (its number, or what it continued)."""
        return None if self._gate is None else self._gate.opened(key)

    def risk(self, key: Hashable) -> float:
        """With a gate: the running risk of a row, a probability; NaN before its first response token."""
        odds = float("nan") if self._gate is None else self._gate.risk.log_odds(key)
        return float(torch.sigmoid(torch.tensor(odds, dtype=torch.float64)))

    def spread(self, table: Tensor, like: Tensor, neutral: float) -> Tensor:
        """Values of the batch's rows in a shape that broadcasts to `like`; see `Rows`."""
        values = (table if self._rows is None else table[self._rows.to(table.device)])[:, None]
        if self._inside is not None:
            values = torch.where(self._inside.to(values.device)[:, :, None], values, neutral)
        rows = values.shape[0]
        if like.ndim == 2 and rows > 1 and like.shape[0] % rows == 0:
            values = values.expand(rows, like.shape[0] // rows, -1)
        if (like.ndim == 3 and rows not in (1, like.shape[0])) or (like.ndim == 2 and like.shape[0] % rows):
            raise InputError(f"alpha is given for {rows} rows, but the batch has {like.shape[0]}: give one a row")
        return values.reshape(-1, values.shape[-1]) if like.ndim == 2 else values

    def edits(self) -> list[Edit]:
        """The edits of all conditions: those of one class share theirs."""
        found: list[Edit] = []
        for kind in dict.fromkeys(type(one) for one in self.conditions):
            found += kind.edits(self.model, [one if type(one) is kind else None for one in self.conditions], self)
        return found

    def __enter__(self) -> Self:
        if self._depth == 0:
            self._passes = 0
            try:
                self._handles.append(self.model.decoder.register_forward_pre_hook(self._locate, with_kwargs=True))
                if self._gate is not None:
                    self._handles += self._gate.attach()
                edits = self.edits()
                self._fired = [0] * len(edits)
                self._handles += [self._attach(place, edit) for place, edit in enumerate(edits)]
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
        if kind is None and (lost or any(fired < self._passes for fired in self._fired)):
            raise CaptureError(
                "the model ran without being changed in every layer: another library removed the hooks, or the model "
                "is compiled; load it afresh and do not compile it"
            )

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._inside, self._idle = [], None, False

    def _attach(self, place: int, edit: Edit) -> Any:
        def change(given: Any) -> Any:
            self._fired[place] += 1
            if self._idle:
                return None
            if isinstance(given, tuple):
                return (edit.change(given[0]), *given[1:])
            return edit.change(given)

        if edit.at == "input":
            return edit.module.register_forward_pre_hook(lambda module, args: change(args))
        return edit.module.register_forward_hook(lambda module, args, output: change(output))

    def _locate(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before each pass of the decoder: at which of its positions the conditions act."""
        if not self._everywhere:
            self._inside = self._choose(args, kwargs)
            self._idle = not bool(self._inside.any())
        self._passes += 1

    def _choose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if self._lengths is None:
            scope = next((one.scope for one in self.conditions if one.scope != "all"), "all")
            named = f"scope {scope!r}" if self._gate is None else "a gate by running risk"
            raise InputError(f"{named} needs prompt_lengths: the number of prompt tokens, one a row")
        ids = next(v for v in (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if v is not None)
        positions = kwargs.get("position_ids")
        if positions is None:
            past, mask = kwargs.get("past_key_values"), kwargs.get("attention_mask")
            start = past.get_seq_length() if past else 0
            if isinstance(mask, Tensor) and mask.ndim == 2:  # rows may hold less than the longest of them
                start = mask.sum(dim=1, keepdim=True) - ids.shape[1]
            positions = torch.arange(ids.shape[1], device=ids.device)[None] + start
        places = positions - self._lengths.to(positions.device)
        inside = (places >= self._of_rows(self._first, places)) & (places < self._of_rows(self._last, places))
        if self._gate is None:
            return inside
        rows = ids.shape[0]
        keys = list(range(rows)) if self._continued is None else self._continued
        allowed, last = inside[:, -1].expand(rows).tolist(), places[:, -1].expand(rows).tolist()
        active = self._gate.begin(keys, last, ids.shape[1], allowed)
        return inside & torch.tensor(active, device=inside.device)[:, None]

    def _of_rows(self, bound: Tensor, places: Tensor) -> Tensor:
        """A bound [conditions, 1] for the rows of the batch, [rows or 1, 1]."""
        bound = bound if self._rows is None else bound[self._rows.cpu()]
        return bound.to(places.device)


def _bounds(intervention: Intervention) -> tuple[int, int]:
    """The first place it covers and the first it does not; -1 is the position that predicts the response."""
    scope = intervention.scope
    if isinstance(intervention, Untouched):
        return _FAR, _FAR
    if scope == "all":
        return -_FAR, _FAR
    if scope == "response":
        return -1, _FAR
    if type(scope) is int and scope >= 1:
        return -1, scope - 1
    raise InputError(f"scope should be 'all', 'response' or a number of tokens from 1 on, found {scope!r}")
