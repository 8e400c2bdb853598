"""Every export of one neuron set against the hook: largest difference of any logit, by format and alpha.

The same prompts go through the hooked model and through what was exported: the adapter in PEFT, the adapter at scale
1 - alpha made from the unit adapter, the baked checkpoint and the edited GGUF file in transformers, and, where its
Python binding is installed, the edited GGUF file and the unit adapter in llama.cpp, on the file as it is and on a copy
in float32. Before it multiplies them with quantised weights llama.cpp rounds activations to eight bits, so its distance
from transformers without any intervention (alpha 1) is given, too. It tells log-probabilities, so there these are
compared, after the last token. Run: python bench/export_equivalence.py [--neurons FOLDER] [--only-llama-cpp]
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from hneurons.interventions.export import export_neurons
from hneurons.interventions.export.gguf_edit import find_gguf
from hneurons.interventions.scaling import ScaleNeurons
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.neurons.neuron_set import NeuronSet

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.llama_server import serve, write_float32

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


def llama_distance(
    path: Path, prompts: list[list[int]], wanted: list[torch.Tensor], *, lora: Path | None = None, scale: float = 0.0
) -> float:
    """Largest difference of any log-probability after a prompt, through llama.cpp's server on one thread."""
    asked = {"lora": [{"id": 0, "scale": scale}]} if lora else {}
    with serve(path, wanted[0].shape[-1], lora=lora) as server:
        found = [server.next_logprobs(ids, **asked) for ids in prompts]
    return farthest(found, [logits[-1].log_softmax(-1) for logits in wanted])


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


def compare_llama(
    name: str, neurons: NeuronSet, alphas: list[float], folder: Path
) -> Iterator[tuple[str, float, float]]:
    """(format, alpha, largest difference of log-probabilities) in llama.cpp."""
    model = load_model(name, device="cpu")
    prompts, given = encode(model), find_gguf(name, None)
    for kind, served in (("", given), (" float32", write_float32(given, folder / "float32.gguf"))):
        unit = folder / f"unit{kind}.gguf"
        export_neurons(neurons, 0.0, model=name, out=unit, format="lora-gguf", gguf=served)
        for alpha in [1.0, *alphas]:
            with ScaleNeurons(model, neurons, alpha):
                hooked = read_logits(model.model, prompts)
            edited = folder / "edited.gguf"
            export_neurons(neurons, alpha, model=name, out=edited, format="gguf", gguf=served)
            yield f"gguf in llama.cpp{kind}", alpha, llama_distance(edited, prompts, hooked)
            edited.unlink()
            edited.with_name("edited.gguf.json").unlink()
            found = llama_distance(served, prompts, hooked, lora=unit, scale=1 - alpha)
            yield f"lora-gguf in llama.cpp{kind}, scale 1 - alpha", alpha, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--neurons", type=Path, help="folder of a neuron set; default: 20 random neurons")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--alpha", type=float, nargs="*", default=[0.0, 0.5, 2.0, 3.0])
    parser.add_argument("--only-llama-cpp", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.neurons is None:
        neurons = random_set(load_model(options.model, device="cpu"), options.count)
    else:
        neurons = NeuronSet.load(options.neurons)
    rows: dict[str, dict[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        given = (options.model, neurons, options.alpha, Path(folder))
        plans = [] if options.only_llama_cpp else [compare(*given)]
        plans += [compare_llama(*given)] if find_spec("xllamacpp") else []
        for kind, alpha, difference in chain(*plans):
            rows.setdefault(kind, {})[alpha] = difference
            print(f"{kind}, alpha {alpha:g}: {difference:.2e}", flush=True)
    alphas = sorted({alpha for row in rows.values() for alpha in row})
    print("\n| largest logit difference | " + " | ".join(f"alpha {alpha:g}" for alpha in alphas) + " |")
    print("|---|" + "---|" * len(alphas))
    for kind, row in rows.items():
        print(f"| {kind} | " + " | ".join(f"{row[a]:.1e}" if a in row else "" for a in alphas) + " |")


if __name__ == "__main__":
    main()
