"""Peak memory of exporting a checkpoint, in a process of its own, beside the checkpoint's size.

Makes a Llama of about --gib GiB in bfloat16 and exports 100 of its neurons, with alpha baked in and as a LoRA. The peak
of the process holds torch and transformers, too; it is given with and without what importing them took.
Run: python bench/export_memory.py --gib 2
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HIDDEN, NEURONS = 1024, 4096
LAYER = 3 * HIDDEN * NEURONS + 4 * HIDDEN * HIDDEN  # weights of a layer
VOCABULARY = 1024


def make_checkpoint(folder: Path, gib: float) -> None:
    """Shards of one layer each, written one at a time."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.tiny_models import tiny_tokenizer

    layers = max(1, round(gib * 2**30 / 2 / LAYER))
    config = LlamaConfig(
        hidden_size=HIDDEN, intermediate_size=NEURONS, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=16, vocab_size=VOCABULARY, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    shapes = {f"self_attn.{x}_proj": (HIDDEN, HIDDEN) for x in "qkvo"}
    shapes |= {"mlp.gate_proj": (NEURONS, HIDDEN), "mlp.up_proj": (NEURONS, HIDDEN), "mlp.down_proj": (HIDDEN, NEURONS)}
    index = {}
    for layer in range(layers + 1):
        if layer < layers:
            tensors = {f"model.layers.{layer}.{n}.weight": torch.full(s, 0.01).bfloat16() for n, s in shapes.items()}
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"model.layers.{layer}.{norm}.weight"] = torch.ones(HIDDEN).bfloat16()
        else:
            names = ("model.embed_tokens.weight", "lm_head.weight")
            tensors = {name: torch.full((VOCABULARY, HIDDEN), 0.01).bfloat16() for name in names}
            tensors["model.norm.weight"] = torch.ones(HIDDEN).bfloat16()
        file = f"model-{layer:05d}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def peak() -> float:
    """MiB this process has held at most; getrusage would hand down what the process that started it held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def measure(folder: Path) -> None:
    """In a fresh process: export and print the peaks."""
    import numpy as np
    import torch  # noqa: F401
    import transformers  # noqa: F401

    from hneurons.interventions.export import export_neurons
    from hneurons.models.stored_weights import open_stored
    from hneurons.neurons.neuron_set import NeuronSet

    open_stored(str(folder))  # imports the architecture
    imported = peak()
    identity = open_stored(str(folder)).identity()
    columns = np.random.default_rng(0).choice(identity.layers * identity.neurons, 100, replace=False)
    neurons = NeuronSet.from_columns(identity, columns, np.ones(100), data={})
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 2**20
    for kind in ("weights", "lora"):
        start = time.monotonic()
        export_neurons(neurons, 0.5, model=str(folder), out=folder.parent / kind, format=kind)
        print(
            f"{kind}: checkpoint {size:.0f} MiB, peak {peak():.0f} MiB, imports alone {imported:.0f} MiB, "
            f"export alone {peak() - imported:.0f} MiB, {time.monotonic() - start:.1f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        make_checkpoint(Path(place) / "model", options.gib)
        command = [sys.executable, __file__, "--measure", str(Path(place) / "model")]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
