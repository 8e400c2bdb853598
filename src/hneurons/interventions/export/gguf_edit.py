"""An edited copy of a GGUF file: row j of the up-projection scaled by alpha through the scales of its blocks.

z_j = act(gate_j) * up_j is linear in row j of the up-projection. Such a row is a run of whole blocks, each with its own
float16 scale (and offset). A column of the down-projection would share its blocks with other neurons.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hneurons.core.errors import InputError, MissingExtraError, UnsupportedModelError
from hneurons.interventions.export.source import neurons_by_layer
from hneurons.interventions.export.target import copy_file, replacing
from hneurons.models.checkpoints import PACKAGED
from hneurons.models.gguf_conversion import open_gguf
from hneurons.models.stored_weights import StoredModel
from hneurons.neurons.neuron_set import NeuronSet

if TYPE_CHECKING:
    from gguf import ReaderTensor

SCALES: dict[str, tuple[int, ...]] = {
    "F16": (0,), "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "IQ1_S": (0,), "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,),
    "IQ4_NL": (0,), "IQ4_XS": (0,), "TQ1_0": (52,), "TQ2_0": (64,),
}  # fmt: skip
"""Block type -> places in a block of its float16 factors: every value of the block is linear in all of them."""

_FLOATS = {"F32": torch.float32, "BF16": torch.bfloat16}
_ALIKE = 0.8  # cosine of the same weights at two bits is about 0.95, of two models' 0


def find_gguf(model: str, gguf: Path | None) -> Path:
    """The GGUF file a model is served from. Raises `InputError` where neither `gguf` nor `model` names one."""
    path = gguf or (PACKAGED[model].gguf() if model in PACKAGED else Path(model).expanduser())
    if path.suffix != ".gguf":
        raise InputError(f"'{model}' is no GGUF file: name the one you serve with --gguf FILE.gguf")
    if not path.is_file():
        raise InputError(f"there is no file {path}: give an existing .gguf file")
    return path


def write_gguf(stored: StoredModel, neurons: NeuronSet, alpha: float, out: Path, *, source: Path) -> dict[str, Any]:
    """Copy `source` to the new file `out` and scale the blocks of the chosen neurons there.

    The result is exact at alpha = 0 and at powers of two, as long as no float16 block scale leaves its normal range.
    Elsewhere each block scale is rounded to float16. Returns the largest relative rounding as `scale_error`.

    Raises:

    - `InputError` for a file that holds another model than `stored`, and for a scale that would overflow.
    - `UnsupportedModelError` for an FFN without gate, and for a block type that has no such scale.
    - `MissingExtraError` without the gguf package.
    """
    tensors = read_gguf(source).tensors
    chosen = neurons_by_layer(neurons)
    for layer in range(len(stored.layers)):
        _check_layer(tensors, layer, stored, source)
    worst = 0.0
    with replacing(out) as copy:
        copy_file(source, copy)
        with open(copy, "r+b", buffering=0) as file:
            for layer, picked in chosen.items():
                up = tensors[f"blk.{layer}.ffn_up.weight"]
                size = int(up.n_bytes) // stored.neurons
                for neuron in picked:
                    offset = int(up.data_offset) + neuron * size
                    raw = bytearray(os.pread(file.fileno(), size, offset))
                    worst = max(worst, scale_row(raw, up.tensor_type.name, alpha))
                    os.pwrite(file.fileno(), raw, offset)
            os.fsync(file.fileno())
    kinds = sorted({tensors[f"blk.{layer}.ffn_up.weight"].tensor_type.name for layer in chosen})
    return {"block_types": ", ".join(kinds), "scale_error": worst}


def scale_row(raw: bytearray, kind: str, alpha: float) -> float:
    """Scale one row of whole blocks in place. Returns the largest relative rounding of a factor.

    Raises `UnsupportedModelError` for a block type without such factors, `InputError` where one would overflow.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if kind in _FLOATS:
        return _scale(torch.frombuffer(raw, dtype=_FLOATS[kind]), alpha)
    if kind not in SCALES:
        raise UnsupportedModelError(
            f"the up-projection is stored as {kind}, whose blocks have no float16 scale: quantise it as one of "
            f"{', '.join(SCALES)}"
        )
    size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1]
    halves = torch.frombuffer(raw, dtype=torch.float16).view(-1, size // 2)
    return max(_scale(halves[:, place // 2], alpha) for place in SCALES[kind])


def _scale(values: Tensor, alpha: float) -> float:
    """Scale in place, rounding once; the largest relative rounding."""
    wanted = values.double() * alpha
    rounded = wanted.to(values.dtype)
    if not bool(torch.isfinite(rounded).all()):
        raise InputError(f"at alpha {alpha:g} a block scale of the GGUF file overflows: lower alpha")
    values.copy_(rounded)
    error = ((rounded.double() - wanted).abs() / wanted.abs().clamp_min(1e-30)).max()
    return float(error)


class GGUFFile(NamedTuple):
    """What a GGUF file says of itself, its tensors mapped from disk."""

    architecture: str
    tensors: "dict[str, ReaderTensor]"


def read_gguf(source: Path) -> GGUFFile:
    """Open a GGUF file. Raises `InputError` where it is damaged, `MissingExtraError` without the gguf package."""
    try:
        from gguf import GGUFEndian
    except ImportError as error:
        raise MissingExtraError("gguf", "gguf", "reading a .gguf file") from error
    try:
        reader = open_gguf(source)
        architecture = str(reader.fields["general.architecture"].contents())
    except Exception as error:  # a damaged file fails wherever its bytes happen to lead the reader
        raise InputError(f"{source} could not be read as GGUF: {(str(error) or type(error).__name__)[:200]}") from error
    if reader.endianess != GGUFEndian.LITTLE:
        raise InputError(f"{source} is a big-endian GGUF file: give a little-endian one")
    return GGUFFile(architecture, {tensor.name: tensor for tensor in reader.tensors})


def check_down(tensors: "dict[str, ReaderTensor]", layer: int, stored: StoredModel, source: Path) -> None:
    """Raise where a layer has no plain down-projection (`UnsupportedModelError`) or not `stored`'s (`InputError`)."""
    down = _demand(tensors, f"blk.{layer}.ffn_down.weight", source)
    found, wanted = tuple(map(int, down.shape)), (stored.neurons, stored.hidden_size)
    if found == wanted and _likeness(down, layer, stored) >= _ALIKE:
        return
    shapes = f"its layer {layer} is {found[0]} x {found[1]}, not {wanted[0]} x {wanted[1]}"
    other = f"the down-projection of layer {layer} is another"
    raise InputError(
        f"{source.name} is no copy of {stored.name}: {other if found == wanted else shapes}; give the GGUF file of "
        "that model"
    )


def _demand(tensors: "dict[str, ReaderTensor]", name: str, source: Path) -> "ReaderTensor":
    if name not in tensors:
        raise UnsupportedModelError(
            f"{source.name} has no {name}: only a plain FFN (for --format gguf a gated one) can be scaled in a GGUF "
            "file; use --format lora or weights"
        )
    return tensors[name]


def _check_layer(tensors: "dict[str, ReaderTensor]", layer: int, stored: StoredModel, source: Path) -> None:
    """Raise where a layer has no plain gated FFN, or not the one of `stored`."""
    check_down(tensors, layer, stored, source)
    up, _ = (_demand(tensors, f"blk.{layer}.{part}.weight", source) for part in ("ffn_up", "ffn_gate"))
    if tuple(map(int, up.shape)) != (stored.hidden_size, stored.neurons):
        raise InputError(
            f"{source.name} is no copy of {stored.name}: the up-projection of layer {layer} has another shape; give "
            "the GGUF file of that model"
        )
    extra = [e for e in (f"blk.{layer}.ffn_up.bias", f"blk.{layer}.ffn_sub_norm.weight") if e in tensors]
    if extra:
        raise UnsupportedModelError(
            f"{source.name} has {extra[0]}, so the neuron is not linear in its row of the up-projection: use --format "
            "lora or weights"
        )


def _likeness(down: "ReaderTensor", layer: int, stored: StoredModel) -> float:
    """Cosine of a layer's down-projection in the GGUF file and in the checkpoint, for the first four outputs."""
    from gguf import dequantize

    first = np.asarray(dequantize(np.asarray(down.data[:4]), down.tensor_type), dtype=np.float64)
    projection = stored.layers[layer].down
    if projection.by == "column":
        other = next(projection.tensor.blocks(range(4), step=4)).numpy()
    else:
        blocks = projection.tensor.blocks(projection.rows)
        other = torch.cat([block[:, :4].clone() for block in blocks]).t().numpy()
    return float((first * other).sum() / (np.linalg.norm(first) * np.linalg.norm(other) + 1e-30))
