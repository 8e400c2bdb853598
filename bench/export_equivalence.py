"""Every export of one neuron set against the hook: largest difference of any logit, by format and alpha.

The same prompts go through the hooked model and through what was exported: the adapter in PEFT, the adapter at scale
1 - alpha made from the unit adapter, the baked checkpoint and the edited GGUF file in transformers, and, where its
Python binding is installed, the edited GGUF file in llama.cpp, whose own distance from transformers without any
intervention is given, too. Run: python bench/export_equivalence.py [--neurons FOLDER]
"""

import argparse
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from hneurons.interventions.export import export_neurons
from hneurons.interventions.scaling import ScaleNeurons
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.neurons.neuron_set import NeuronSet

TEXTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "Marie Curie discovered radium in 1898 together with her husband Pierre",
)


def random_set(model: LanguageModel, count: int) -> NeuronSet:
    layers, width = model.shape
    columns = np.random.default_rng(0).choice(layers * width, count, replace=False)
    return NeuronSet.from_columns(model.identity, columns, np.ones(count), data={"random": 0})


def encode(model: LanguageModel) -> list[list[int]]:
    return [model.tokenizer(text)["input_ids"] for text in TEXTS]


@torch.inference_mode()
def read_logits(model: torch.nn.Module, prompts: list[list[int]]) -> list[torch.Tensor]:
    return [model(torch.tensor([ids])).logits[0].float() for ids in prompts]


def farthest(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))


def peft_logits(model: torch.nn.Module, folder: Path, prompts: list[list[int]], scale: float) -> list[torch.Tensor]:
    """Through PEFT, with the adapter at a scale; the model is as before afterwards."""
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, folder).eval()
    for module in adapted.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("default", scale)
    found = read_logits(adapted, prompts)
    adapted.unload()
    return found


def transformers_logits(path: Path, prompts: list[list[int]]) -> list[torch.Tensor]:
    """Through transformers' own loader: a checkpoint's folder, or a GGUF file, which it dequantises."""
    from transformers import AutoModelForCausalLM

    if path.is_dir():
        return read_logits(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(), prompts)
    loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return read_logits(loaded.eval(), prompts)


def llama_logits(path: Path, prompts: list[list[int]]) -> list[torch.Tensor]:
    """Through llama.cpp, on one thread."""
    from llama_cpp import Llama

    model = Llama(str(path), n_ctx=128, n_batch=128, n_threads=1, logits_all=True, verbose=False)
    found = []
    for ids in prompts:
        model.reset()
        model.eval(ids)
        found.append(torch.from_numpy(np.array(model.scores[: len(ids)], dtype=np.float32)))
    return found


def compare(name: str, neurons: NeuronSet, alphas: list[float], folder: Path) -> Iterator[tuple[str, float, float]]:
    """(format, alpha, largest logit difference); the line "effect" is the hooked model against the plain one."""
    model = load_model(name, device="cpu")
    prompts, plain = encode(model), read_logits(model.model, encode(model))
    unit = export_neurons(neurons, 0.0, model=name, out=folder / "unit", format="lora").path
    for alpha in alphas:
        with ScaleNeurons(model, neurons, alpha):
            hooked = read_logits(model.model, prompts)
        yield "effect", alpha, farthest(hooked, plain)
        paths = {
            kind: export_neurons(neurons, alpha, model=name, out=folder / f"{kind}-{alpha}{end}", format=kind).path
            for kind, end in (("lora", ""), ("weights", ""), ("gguf", ".gguf"))
        }
        adapted = peft_logits(model.model, paths["lora"], prompts, 1.0)
        yield "lora in PEFT", alpha, farthest(adapted, hooked)
        adapted = peft_logits(model.model, unit, prompts, 1 - alpha)
        yield "unit lora in PEFT, scale 1 - alpha", alpha, farthest(adapted, hooked)
        for kind in ("weights", "gguf"):
            yield f"{kind} in transformers", alpha, farthest(transformers_logits(paths[kind], prompts), hooked)
        if find_spec("llama_cpp"):
            yield "gguf in llama.cpp", alpha, farthest(llama_logits(paths["gguf"], prompts), hooked)
    if find_spec("llama_cpp"):
        from hneurons.interventions.export.gguf_edit import find_gguf

        yield "gguf in llama.cpp", 1.0, farthest(llama_logits(find_gguf(name, None), prompts), plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--neurons", type=Path, help="folder of a neuron set; default: 20 random neurons")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--alpha", type=float, nargs="*", default=[0.0, 0.5, 2.0, 3.0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.neurons is None:
        neurons = random_set(load_model(options.model, device="cpu"), options.count)
    else:
        neurons = NeuronSet.load(options.neurons)
    rows: dict[str, dict[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, alpha, difference in compare(options.model, neurons, options.alpha, Path(folder)):
            rows.setdefault(kind, {})[alpha] = difference
            print(f"{kind}, alpha {alpha:g}: {difference:.2e}", flush=True)
    alphas = sorted({alpha for row in rows.values() for alpha in row})
    print("\n| largest logit difference | " + " | ".join(f"alpha {alpha:g}" for alpha in alphas) + " |")
    print("|---|" + "---|" * len(alphas))
    for kind, row in rows.items():
        print(f"| {kind} | " + " | ".join(f"{row[a]:.1e}" if a in row else "" for a in alphas) + " |")


if __name__ == "__main__":
    main()
