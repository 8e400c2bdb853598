"""One forward hook per down-projection turns each batch into region means of a signal, by default CETT."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hneurons.core.errors import CaptureError
from hneurons.models.kv_cache import PrefixPast
from hneurons.models.language_model import LanguageModel
from hneurons.neurons.signals import CETT, SIGNALS, Signal


class RegionSums:
    """Sums of a signal over token regions, its scale left out, float32 [rows, layers, regions, columns].

    The sum is one small matrix product a layer instead of a loop over neurons or tokens. It starts as NaN, so a layer
    whose hook never fired cannot pass for a measurement.
    """

    def __init__(self, masks: Tensor, start: int, model: LanguageModel, signal: Signal) -> None:
        """masks: float32 [rows, regions, tokens] over the tokens from `start` on, 1 where a token counts."""
        layers, width = len(model.ffns), signal.width(model)
        self.masks, self.start, self.signal = masks, start, signal
        self.sums = torch.full((masks.shape[0], layers, masks.shape[1], width), torch.nan, device=masks.device)
        self.fired = [0] * layers

    def add(self, layer: int, z: Tensor, h: Tensor) -> None:
        """z: down-projection input [rows, tokens, neurons]; h: its output [rows, tokens, hidden]; or both flattened."""
        rows, _, tokens = self.masks.shape
        z, h = z.reshape(rows, -1, z.shape[-1])[:, self.start :], h.reshape(rows, -1, h.shape[-1])[:, self.start :]
        if z.shape[1] != tokens:
            raise CaptureError(f"layer {layer} saw {z.shape[1]} tokens where {tokens} were expected")
        divisor = self.signal.divisor(h)
        weights = self.masks if divisor is None else self.masks / divisor[:, None]
        torch.bmm(weights, self.signal.read(layer, z, h), out=self.sums[:, layer])
        self.fired[layer] += 1

    def demand_one_each(self) -> Tensor:
        """The sums. Raises `CaptureError` unless every layer's hook fired exactly once."""
        wrong = [f"layer {i}: {n} times" for i, n in enumerate(self.fired) if n != 1]
        if wrong:
            raise CaptureError(
                f"a hook must fire exactly once a batch, but {', '.join(wrong[:4])}: another library may have removed "
                "the model's hooks, or the model is compiled; load it afresh and do not compile it"
            )
        return self.sums


@contextmanager
def capturing(model: LanguageModel, sums: RegionSums) -> Iterator[None]:
    """Feed every down-projection's input and output to `sums` while open; the model is left as it was."""
    handles = []
    try:
        for ffn in model.ffns:

            def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, layer: int = ffn.layer) -> None:
                sums.add(layer, inputs[0], output)

            handles.append(ffn.down.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


class Sequence(NamedTuple):
    """Token ids to run, and per region the positions (in the whole sequence) that count."""

    ids: list[int]
    regions: tuple[list[int], ...]


class ContributionMeter:
    """Runs padded batches through the base model and returns the mean of a signal per region.

    `signal` names it. The cache of `prefix`, ids that all sequences begin with, is made once and reused by every batch.
    """

    @torch.inference_mode()
    def __init__(self, model: LanguageModel, prefix: list[int], *, regions: int = 2, signal: str = CETT) -> None:
        prefix = prefix if model.keeps_cache else []  # then the prefix runs with every sequence
        self.model, self.prefix, self.signal = model, prefix, SIGNALS.get(signal)
        self.past = PrefixPast(model.decoder, prefix, model.device)
        self._prefix_sums: Tensor | None = None

    @torch.inference_mode()
    def measure(self, batch: list[Sequence]) -> Tensor:
        """Mean of the signal, float32 [rows, regions, layers, columns]; NaN where a row's region has no token."""
        return self._measure(batch, lambda ids, past: self.model.decoder(input_ids=ids, **past))[0]

    @torch.inference_mode()
    def measure_with_output(self, batch: list[Sequence], kept: list[int]) -> tuple[Tensor, Any, list[int]]:
        """As `measure`, with what the whole model returned: the hidden states of all layers, and logits.

        kept: the places, counted from the end of the prefix, whose logits are wanted. Where they stand in the logits
        is the third value.
        """
        some = self.model.keeps_some_logits

        def run(ids: Tensor, past: dict[str, Any]) -> Any:
            wanted = {"logits_to_keep": torch.tensor(kept, device=ids.device)} if some else {}
            return self.model.model(input_ids=ids, output_hidden_states=True, **wanted, **past)

        return (*self._measure(batch, run), [*range(len(kept))] if some else kept)

    def _measure(self, batch: list[Sequence], run: Callable[[Tensor, dict[str, Any]], Any]) -> tuple[Tensor, Any]:
        device, start = self.model.device, len(self.prefix)
        width = max(len(s.ids) for s in batch) - start
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        masks = torch.zeros(len(batch), len(batch[0].regions), width)
        for row, sequence in enumerate(batch):
            ids[row, : len(sequence.ids) - start] = torch.tensor(sequence.ids[start:])
            for region, positions in enumerate(sequence.regions):
                masks[row, region, [p - start for p in positions if p >= start]] = 1
        counts = torch.tensor([[len(positions) or torch.nan for positions in s.regions] for s in batch])
        used = masks.any(dim=1).any(dim=0).nonzero()
        first = int(used[0]) if len(used) else 0
        sums = RegionSums(masks[:, :, first:].to(device), first, self.model, self.signal)
        with capturing(self.model, sums):
            # Right padding needs no attention mask: causal attention keeps it from earlier tokens.
            output = run(ids.to(device), self.past.inputs(len(batch), width))
        totals = sums.demand_one_each().transpose(1, 2) + self._of_prefix(batch)
        scale = self.signal.scale(self.model)
        if scale is not None:
            totals = totals * scale.to(device)
        return totals / counts.to(device)[:, :, None, None], output

    def _of_prefix(self, batch: list[Sequence]) -> Tensor:
        """The prefix's own tokens where a region counts them, to broadcast over [rows, regions, layers, columns]."""
        start = len(self.prefix)
        counted = torch.tensor([[sum(p < start for p in positions) for positions in s.regions] for s in batch])
        if not counted.any():
            return torch.zeros(1, 1, 1, 1, device=self.model.device)
        partial = {int(n) for n in counted.flatten() if n not in (0, start)}
        if partial:
            raise CaptureError("a region may count all of the shared prefix or none of it")
        if self._prefix_sums is None:
            sums = RegionSums(torch.ones(1, 1, start, device=self.model.device), 0, self.model, self.signal)
            with capturing(self.model, sums):
                self.model.decoder(input_ids=torch.tensor([self.prefix], device=self.model.device), use_cache=False)
            self._prefix_sums = sums.demand_one_each()[0, :, 0]
        weights = (counted > 0).float().to(self.model.device)
        return weights[:, :, None, None] * self._prefix_sums
