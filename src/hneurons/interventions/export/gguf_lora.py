"""A LoRA adapter in llama.cpp's own format: alpha is then chosen for every request, as the adapter's scale."""

from pathlib import Path
from typing import Any

import numpy as np

from hneurons.core.errors import InputError
from hneurons.interventions.export.gguf_edit import check_down, read_gguf
from hneurons.interventions.export.lora import check_rank
from hneurons.interventions.export.source import neurons_by_layer
from hneurons.interventions.export.target import replacing
from hneurons.models.stored_weights import StoredModel
from hneurons.neurons.neuron_set import NeuronSet

_ROWS = 256  # of a down-projection that are dequantised at a time


def write_gguf_lora(
    stored: StoredModel, neurons: NeuronSet, alpha: float, out: Path, *, source: Path, max_rank: int
) -> dict[str, Any]:
    """Write the adapter for the GGUF file `source` to the new file `out`; neither is loaded.

    The factors are those of `write_lora`: A is one-hot, and B = (alpha - 1) * W_down[:, S], in float32, padded to one
    rank. W_down is that of `source` itself, dequantised, so that what a quantised model computes is what is taken away.

    Raises:

    - `InputError` for a rank above `max_rank`, and for a file that holds another model than `stored`.
    - `UnsupportedModelError` for a file without plain down-projections.
    - `MissingExtraError` without the gguf package.
    """
    chosen = neurons_by_layer(neurons)
    rank = check_rank(chosen, max_rank)
    file = read_gguf(source)
    for layer in range(len(stored.layers)):
        check_down(file.tensors, layer, stored, source)
    from gguf import GGUFWriter, dequantize

    with replacing(out) as path:
        writer = GGUFWriter(path, file.architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(rank))
        for layer, picked in chosen.items():
            name = f"blk.{layer}.ffn_down.weight"
            down = file.tensors[name]
            a, b = np.zeros((rank, stored.neurons), np.float32), np.zeros((stored.hidden_size, rank), np.float32)
            a[np.arange(len(picked)), picked] = 1.0
            for first in range(0, stored.hidden_size, _ROWS):
                rows = slice(first, first + _ROWS)
                block = np.asarray(dequantize(np.asarray(down.data[rows]), down.tensor_type), dtype=np.float64)
                with np.errstate(over="ignore"):
                    b[rows, : len(picked)] = (alpha - 1) * block[:, picked]
            if not np.isfinite(b).all():
                raise InputError(f"alpha {alpha:g} is too large: the adapter's weights would not be finite numbers")
            writer.add_tensor(f"{name}.lora_a", a)
            writer.add_tensor(f"{name}.lora_b", b)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return {"rank": rank}
