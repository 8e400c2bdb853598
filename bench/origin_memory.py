"""Resident memory and time of the drift between two checkpoints that are much larger than the memory allowed.

Two sparse checkpoints of the shape of a 1B model in bfloat16 are made (they take hardly any room on disk), and their
drift is measured in a process of its own. Zeros are read, converted and summed like any other values.
Run: python bench/origin_memory.py
"""

import argparse
import json
import math
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HIDDEN, NEURONS = 2048, 8192


def write_sparse(folder: Path, megabytes: int) -> Path:
    """A Llama checkpoint of zeros in bfloat16 with wide FFNs; a model as `load_model` takes it, without tokenizer."""
    wide = megabytes >= 1000
    hidden, neurons = (HIDDEN, NEURONS) if wide else (512, 2048)
    layers = max(1, math.ceil(megabytes * 1e6 / (3 * hidden * neurons * 2)))
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": hidden,
        "intermediate_size": neurons, "num_hidden_layers": layers, "num_attention_heads": 8, "num_key_value_heads": 8,
        "vocab_size": 64, "dtype": "bfloat16",
    }  # fmt: skip
    shapes = {
        f"model.layers.{i}.mlp.{name}.weight": shape
        for i in range(layers)
        for name, shape in (
            ("up_proj", [neurons, hidden]), ("gate_proj", [neurons, hidden]), ("down_proj", [hidden, neurons]),
        )
    }  # fmt: skip
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return folder


def measure(base: Path, tuned: Path) -> None:
    """Print the peak resident memory of the imports alone, then of the drift, in MiB, and its seconds."""
    from hneurons.mechanism.weight_drift import measure_drift
    from hneurons.models.stored_weights import open_stored

    open_stored(str(base))
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    drift = measure_drift(str(base), str(tuned), out=base.parent / "drift")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{drift.up.size:,} neurons: {time.perf_counter() - start:.1f} s; peak {peak:.0f} MiB, of which "
          f"{idle:.0f} MiB are the libraries and the model without weights")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=2000, help="size of each checkpoint")
    parser.add_argument("--pair", type=Path, nargs=2, help="measure these, in this process")
    options = parser.parse_args()
    if options.pair:
        measure(*options.pair)
        return
    with tempfile.TemporaryDirectory() as folder:
        pair = [write_sparse(Path(folder) / name, options.megabytes) for name in ("base", "tuned")]
        size = (pair[0] / "model.safetensors").stat().st_size / 1e9
        print(f"two checkpoints of {size:.2f} GB")
        subprocess.run([sys.executable, __file__, "--pair", *map(str, pair)], check=True)


if __name__ == "__main__":
    main()
