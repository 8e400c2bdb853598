"""The geometry audit on a live model: refusal directions, and what scaled neurons write along them.

The refusal direction of a layer is the difference of the mean residual streams after that layer, at the last prompt
token, between harmful and harmless instructions (Arditi et al. 2024, arXiv 2406.11717). Scaling neurons S by alpha
adds (alpha - 1) * W_down[:, S] z[S] to the down-projection's output; its cosine with the direction does not depend on
alpha > 1. Models with a norm after the FFN rescale that output before it enters the residual stream.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hneurons.core.errors import CaptureError, NotEnoughDataError
from hneurons.core.progress import progress
from hneurons.models.language_model import LanguageModel
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.controls import draw_sets
from hneurons.records.record import RunSettings
from hneurons.records.recorded_run import Run, make_run

_PLAIN = PromptStyle(instruction="")


class LastTokens(NamedTuple):
    """At each prompt's last token, float32: residual stream [prompts, layers, hidden], z [prompts, layers, neurons]."""

    residual: Tensor
    z: Tensor


@dataclass(frozen=True)
class RefusalDirections:
    """Unit directions [layers, hidden] and orthonormal bases [layers, rank, hidden] of the refusal subspace.

    The subspace is spanned by the direction and the leading principal axes of the harmful residuals about their mean.
    `accuracy`: held-out share on the right side of the midpoint between the class means, by layer.
    """

    directions: Tensor
    bases: Tensor
    accuracy: tuple[float, ...]


def capture_last_tokens(model: LanguageModel, prompts: Sequence[str], *, batch: int = 16) -> LastTokens:
    """Run prompts through the chat template and keep what each layer holds at the last prompt token."""
    ids = [model.encode(prompt, _PLAIN) for prompt in prompts]
    layers, neurons = model.shape
    residual = torch.full((len(ids), layers, model.ffns[0].hidden_size), torch.nan)
    z = torch.full((len(ids), layers, neurons), torch.nan)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    pad = model.tokenizer.pad_token_id or 0
    with progress("last tokens", len(ids)) as advance, torch.inference_mode():
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            width = max(len(ids[i]) for i in places)
            tokens = torch.tensor([ids[i] + [pad] * (width - len(ids[i])) for i in places], device=model.device)
            lengths = torch.tensor([len(ids[i]) for i in places], device=model.device)
            mask = (torch.arange(width, device=model.device) < lengths[:, None]).long()
            with _watching(model, lengths - 1) as seen:
                model.decoder(input_ids=tokens, attention_mask=mask, use_cache=False)
            residual[places], z[places] = seen("residual"), seen("z")
            advance(len(places))
    return LastTokens(residual, z)


@contextmanager
def _watching(model: LanguageModel, last: Tensor) -> Iterator[Callable[[str], Tensor]]:
    """Yield a function that gives what was seen, after one forward pass, stacked over layers."""
    seen: dict[str, dict[int, Tensor]] = {"residual": {}, "z": {}}
    rows = torch.arange(len(last), device=last.device)

    def keep(name: str, layer: int, value: Tensor) -> None:
        if layer in seen[name]:
            raise CaptureError(f"layer {layer} ran more than once in a forward pass: its values cannot be told apart")
        seen[name][layer] = value[rows, last].float().cpu()

    def stacked(name: str) -> Tensor:
        if len(seen[name]) != len(model.ffns):
            raise CaptureError(f"{len(seen[name])} of {len(model.ffns)} layers were seen: load the model afresh")
        return torch.stack([seen[name][layer] for layer in range(len(model.ffns))], dim=1)

    handles = []
    try:
        for ffn in model.ffns:

            def on_down(module: nn.Module, inputs: tuple[Tensor, ...], layer: int = ffn.layer) -> None:
                keep("z", layer, inputs[0])

            def on_layer(module: nn.Module, inputs: Any, output: Any, layer: int = ffn.layer) -> None:
                keep("residual", layer, output[0] if isinstance(output, tuple) else output)

            handles.append(ffn.down.register_forward_pre_hook(on_down))
            handles.append(_decoder_layer(model, ffn.name, ffn.layer).register_forward_hook(on_layer))
        yield stacked
    finally:
        for handle in handles:
            handle.remove()


def _decoder_layer(model: LanguageModel, ffn_name: str, index: int) -> nn.Module:
    parts = ffn_name.split(".")
    return model.decoder.get_submodule(".".join(parts[: parts.index(str(index)) + 1]))


def find_refusal_directions(
    harmful: Tensor, harmless: Tensor, *, held_out: tuple[Tensor, Tensor] | None = None, rank: int = 4
) -> RefusalDirections:
    """Difference-of-means directions from residuals [prompts, layers, hidden] of both classes.

    Raises `NotEnoughDataError` with fewer than 8 prompts of a class.
    """
    if min(len(harmful), len(harmless)) < 8:
        raise NotEnoughDataError(
            f"a refusal direction needs 8 instructions of each kind, found {len(harmful)} harmful and "
            f"{len(harmless)} harmless: give larger files"
        )
    means = harmful.mean(dim=0), harmless.mean(dim=0)
    difference = means[0] - means[1]
    directions = torch.nn.functional.normalize(difference, dim=-1)
    bases, accuracy = [], []
    for layer in range(directions.shape[0]):
        spread = harmful[:, layer] - means[0][layer]
        axes = torch.linalg.svd(spread, full_matrices=False).Vh[: rank - 1]
        stacked = torch.cat([directions[layer][None], axes]).T
        bases.append(torch.linalg.qr(stacked).Q.T)
        if held_out is not None:
            middle = (means[0][layer] + means[1][layer]) @ directions[layer] / 2
            hits = [(held_out[0][:, layer] @ directions[layer] > middle).float(),
                    (held_out[1][:, layer] @ directions[layer] <= middle).float()]  # fmt: skip
            accuracy.append(float((hits[0].mean() + hits[1].mean()) / 2))
    return RefusalDirections(directions, torch.stack(bases), tuple(accuracy))


class Overlap(NamedTuple):
    """Per prompt and used layer, float64 [prompts, layers]: signed cosine and subspace share; NaN where undefined."""

    signed_cosine: NDArray[np.float64]
    subspace: NDArray[np.float64]


def measure_overlap(model: LanguageModel, z: Tensor, chosen: dict[int, list[int]], found: RefusalDirections) -> Overlap:
    """Overlap of the chosen neurons' summed output with the refusal direction and subspace of their layer."""
    signed, shares = [], []
    for layer, neurons in sorted(chosen.items()):
        columns = model.ffns[layer].columns[:, neurons].float().cpu()
        output = z[:, layer, neurons] @ columns.T
        length = output.norm(dim=-1)
        length = torch.where(length > 0, length, torch.full_like(length, torch.nan))
        signed.append((output @ found.directions[layer] / length).double().numpy())
        shares.append(((output @ found.bases[layer].T).norm(dim=-1) ** 2 / length**2).double().numpy())
    return Overlap(np.stack(signed, axis=1), np.stack(shares, axis=1))


def audit_refusal_overlap(
    model: LanguageModel,
    layers: NDArray[np.int64],
    neurons: NDArray[np.int64],
    prompts: Sequence[tuple[str, str]],
    found: RefusalDirections,
    *,
    effects: dict[str, float] | None = None,
    benchmark: str = "prompts",
    null_sets: int = 100,
    seed: int = 0,
) -> list[Run]:
    """Runs (by layer, by item, null) that the geometry audit reads.

    prompts: (id, text). effects: id -> the item's measured effect, where known. The null draws as many neurons from
    the same layers, never a chosen one.
    """
    chosen: dict[int, list[int]] = {}
    for layer, neuron in zip(layers.tolist(), neurons.tolist(), strict=True):
        chosen.setdefault(layer, []).append(neuron)
    used = sorted(chosen)
    z = capture_last_tokens(model, [text for _, text in prompts]).z
    own = measure_overlap(model, z, chosen, found)
    width, nulls = model.shape[1], []
    columns = layers * width + neurons
    drawn = draw_sets(
        "refusal overlap", columns, model.shape, without=columns, draws=null_sets, seed=seed, same_layers=True
    )
    with progress("random sets", null_sets) as advance:
        for found_columns in drawn:
            alike: dict[int, list[int]] = {}
            for layer, neuron in zip(*np.divmod(found_columns, width), strict=True):
                alike.setdefault(int(layer), []).append(int(neuron))
            nulls.append(measure_overlap(model, z, alike, found))
            advance()
    null_signed = np.stack([np.nanmean(null.signed_cosine, axis=0) for null in nulls])
    null_shares = np.stack([np.nanmean(null.subspace, axis=0) for null in nulls])
    by_layer = [
        {
            "layer": layer, "n_neurons": len(chosen[layer]),
            "signed_cosine": np.nanmean(own.signed_cosine[:, k]), "signed_null_mean": null_signed[:, k].mean(),
            "signed_null_p95": np.percentile(null_signed[:, k], 95), "subspace": np.nanmean(own.subspace[:, k]),
            "subspace_null_mean": null_shares[:, k].mean(), "subspace_null_p95": np.percentile(null_shares[:, k], 95),
        }
        for k, layer in enumerate(used)
    ]  # fmt: skip
    by_item = [
        {
            "id": item, "benchmark": benchmark, "signed_cosine": np.nanmean(own.signed_cosine[row]),
            "subspace": np.nanmean(own.subspace[row]), "effect": (effects or {}).get(item),
            "layers": {str(layer): [own.signed_cosine[row, k], own.subspace[row, k]] for k, layer in enumerate(used)},
        }
        for row, (item, _) in enumerate(prompts)
    ]  # fmt: skip
    by_set = [{"signed_cosine": a.mean(), "subspace": b.mean()} for a, b in zip(null_signed, null_shares, strict=True)]
    rows: dict[str, list[dict[str, Any]]] = {
        "layer_overlap": by_layer, "item_overlap": by_item, "null_overlap": by_set,
    }  # fmt: skip
    return [make_run(kind, RunSettings(benchmark, kind=kind), _plain(found_rows)) for kind, found_rows in rows.items()]


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()} for row in rows]
