"""A PEFT adapter that scales neurons: A picks z of the chosen neurons, B adds (alpha - 1) of their columns."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hneurons.core.errors import InputError
from hneurons.interventions.export.source import neurons_by_layer, read_neurons
from hneurons.interventions.export.target import EXPORT_JSON, replacing, write_note
from hneurons.models.stored_weights import StoredFFN, StoredModel
from hneurons.neurons.neuron_set import NeuronSet


def write_lora(
    stored: StoredModel, neurons: NeuronSet, alpha: float, out: Path, *, max_rank: int, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Write `adapter_config.json` and `adapter_model.safetensors` (float32) into the new folder `out`.

    For each layer A [rank, neurons] holds one-hot rows, and B [hidden_size, rank] = (alpha - 1) * W_down[:, S]. Both
    are padded with zeros to the rank of the fullest layer. `lora_alpha` is the rank, so that the adapter scale is 1. It
    does not hold alpha: it is a whole number, and llama.cpp takes 0 for missing. Layers without neurons are left out.
    Raises `InputError` that names the layer for a rank above `max_rank`.
    """
    from safetensors.torch import save_file

    chosen = neurons_by_layer(neurons)
    rank = check_rank(chosen, max_rank)
    names, tensors = stored.module_names(), {}
    for layer, picked in chosen.items():
        a, b = _factors(stored.layers[layer], stored, picked, alpha, rank)
        tensors[f"base_model.model.{names[layer]}.lora_A.weight"] = a
        tensors[f"base_model.model.{names[layer]}.lora_B.weight"] = b
    transposed = stored.layers[0].down.by == "row"
    config = _config(stored.name, rank, [names[layer] for layer in chosen], transposed)
    with replacing(out) as folder:
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        write_note(folder / EXPORT_JSON, about, [*folder.iterdir()])
    return {"rank": rank}


def check_rank(chosen: dict[int, list[int]], max_rank: int) -> int:
    """The rank an adapter needs: neurons in the fullest layer. Raises `InputError` above `max_rank`, naming it."""
    fullest = max(chosen, key=lambda layer: len(chosen[layer]))
    rank = len(chosen[fullest])
    if rank > max_rank:
        raise InputError(
            f"layer {fullest} has {rank} neurons, so the adapter would have rank {rank}, above --max-rank {max_rank}: "
            "use --format weights, or raise it if your engine allows more"
        )
    return rank


def _factors(ffn: StoredFFN, stored: StoredModel, picked: list[int], alpha: float, rank: int) -> tuple[Tensor, Tensor]:
    a, b = torch.zeros(rank, stored.neurons), torch.zeros(stored.hidden_size, rank)
    a[torch.arange(len(picked)), torch.tensor(picked)] = 1.0
    b[:, : len(picked)] = (alpha - 1) * read_neurons(ffn.down, picked)
    if not bool(torch.isfinite(b).all()):
        raise InputError(f"alpha {alpha:g} is too large: the adapter's weights would not be finite numbers")
    return a, b


def _config(model: str, rank: int, modules: list[str], transposed: bool) -> dict[str, Any]:
    """What PEFT and the engines read. Modules are named in full: a short name would hit every layer and tower."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "target_modules": modules,
    }
