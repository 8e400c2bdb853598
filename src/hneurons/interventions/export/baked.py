"""A checkpoint with alpha baked in: a copy of the files in which only the scaled columns' bytes differ."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hneurons.core.errors import ArtifactError, InputError
from hneurons.interventions.export.source import neurons_by_layer
from hneurons.interventions.export.target import EXPORT_JSON, copy_file, replacing, write_note
from hneurons.models.stored_weights import Projection, StoredModel
from hneurons.neurons.neuron_set import NeuronSet

_KEPT = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
_BLOCK = 1 << 22  # bytes changed at a time


def write_baked(
    stored: StoredModel, neurons: NeuronSet, alpha: float, out: Path, *, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Copy the checkpoint to the new folder `out` and scale W_down[:, S] there, block by block.

    Values are scaled in float64 and rounded once to the stored type. Config, tokenizer and other small files come
    along; weights in other formats do not. Raises `InputError` where a scaled weight would overflow its type.
    """
    with replacing(out) as folder:
        folder.mkdir()
        small = [p for p in stored.folder.iterdir() if p.is_file() and p.suffix in _KEPT]
        for path in [*stored.files, *small]:
            copy_file(path, folder / path.name)
        for layer, picked in neurons_by_layer(neurons).items():
            down = stored.layers[layer].down
            scale_stored(folder / down.tensor.path.name, down, picked, alpha)
        write_note(folder / EXPORT_JSON, about, [*folder.iterdir()])
    return {"dtype": stored.dtype}


def scale_stored(file: Path, projection: Projection, neurons: list[int], alpha: float) -> None:
    """Scale the weight vectors of some neurons in a copy of the file their projection lies in."""
    if projection.by == "column":
        _scale_block_columns(file, projection, neurons, alpha)
        return
    for neuron in neurons:
        row = projection.rows.start + neuron
        _change(file, projection, range(row, row + 1), slice(None), alpha)


def _scale_block_columns(file: Path, projection: Projection, neurons: list[int], alpha: float) -> None:
    rows, width = projection.rows, projection.tensor.shape[1] * projection.tensor.dtype.itemsize
    step = max(1, _BLOCK // width)
    for first in range(rows.start, rows.stop, step):
        _change(file, projection, range(first, min(first + step, rows.stop)), neurons, alpha)


def _change(file: Path, projection: Projection, rows: range, columns: list[int] | slice, alpha: float) -> None:
    """Read adjacent rows, scale some columns, write the rows back."""
    tensor = projection.tensor
    width = tensor.shape[1] * tensor.dtype.itemsize
    offset, raw = tensor.offset + rows.start * width, bytearray(len(rows) * width)
    with open(file, "r+b", buffering=0) as opened:
        if os.preadv(opened.fileno(), [raw], offset) != len(raw):
            raise ArtifactError(f"{tensor.path} is truncated: fetch the checkpoint again")
        block = torch.frombuffer(raw, dtype=tensor.dtype).view(len(rows), tensor.shape[1])
        scaled = (block[:, columns].double() * alpha).to(tensor.dtype)
        if not bool(torch.isfinite(scaled).all()):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"at alpha {alpha:g} a scaled weight overflows {kind}, the checkpoint's type: lower alpha")
        block[:, columns] = scaled
        os.pwrite(opened.fileno(), raw, offset)
