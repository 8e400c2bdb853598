"""Exports for llama.cpp in llama.cpp: its server's log-probabilities against the hook's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hneurons.core.errors import InputError, UnsupportedModelError
from hneurons.interventions.export import export_neurons
from hneurons.interventions.scaling import ScaleNeurons
from hneurons.models.checkpoints import PACKAGED
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.neurons.neuron_set import NeuronSet
from support.llama_server import LlamaServer, serve, write_float32
from support.tiny_exports import IDS, PLACES, choose_neurons, demand_smollm2, load, save_model, write_tiny_gguf
from support.tiny_models import tiny_tokenizer, tiny_transformer

pytest.importorskip("xllamacpp", reason="llama.cpp's Python binding is not installed: pip install xllamacpp")
gguf = pytest.importorskip("gguf")

ALPHAS = (0.0, 0.5, 2.0, 3.0)
PROMPTS = tuple(row[:length] for row in IDS.tolist() for length in (2, 7))
SMOLLM2_IDS = [504, 3575, 282, 4649, 314, 7042, 28, 284, 260, 3575, 282, 7042, 314]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HNEURONS_CACHE", str(tmp_path / "cache"))


@torch.inference_mode()
def hooked(model: LanguageModel, neurons: NeuronSet, alpha: float, ids: list[int]) -> torch.Tensor:
    with ScaleNeurons(model, neurons, alpha):
        return model.model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)


def farthest(server: LlamaServer, model: LanguageModel, neurons: NeuronSet, alpha: float, **body: object) -> float:
    """Largest difference of any token's log-probability after any prompt."""
    return max(
        float((server.next_logprobs(ids, **body) - hooked(model, neurons, alpha, ids)).abs().max()) for ids in PROMPTS
    )


@pytest.mark.slow
def test_an_edited_file_gives_the_hooks_probabilities_in_llama_cpp(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "tiny.gguf", "F32")
    model = load(source)
    neurons, vocabulary = choose_neurons(model), model.model.config.vocab_size
    with serve(source, vocabulary) as server:
        assert farthest(server, model, neurons, 1.0) < 1e-5
    for alpha in ALPHAS:
        out = tmp_path / f"{alpha}.gguf"
        export_neurons(neurons, alpha, model=str(source), out=out, format="gguf")
        with serve(out, vocabulary) as server:
            assert farthest(server, model, neurons, alpha) < 1e-5
            assert farthest(server, model, neurons, 1.0) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_the_unit_adapter_gives_every_request_its_own_alpha(tmp_path: Path, kind: str) -> None:
    source = write_tiny_gguf(tmp_path / "tiny.gguf", kind)
    model = load(source)
    neurons, unit = choose_neurons(model), tmp_path / "unit.gguf"
    done = export_neurons(neurons, 0, model=str(source), out=unit, format="lora-gguf")
    assert done.details == {"rank": 3}
    near = 1e-5 if kind == "F32" else 3e-2
    with serve(source, model.model.config.vocab_size, lora=unit) as server:
        assert farthest(server, model, neurons, 1.0) < near  # a request that says nothing is the plain model's
        for alpha in ALPHAS:
            at = {"lora": [{"id": 0, "scale": 1 - alpha}]}
            assert farthest(server, model, neurons, alpha, **at) < near
            assert farthest(server, model, neurons, 1.0, **at) > 3 * near


def test_the_adapter_holds_the_served_files_own_columns(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    neurons = choose_neurons(load(folder))
    source = write_tiny_gguf(tmp_path / "tiny.gguf", "Q8_0")
    out = tmp_path / "half.gguf"
    with pytest.raises(InputError, match=r"is no GGUF file: name the one you serve with --gguf"):
        export_neurons(neurons, 0.5, model=str(folder), out=out, format="lora-gguf")
    with pytest.raises(InputError, match="layer 2 has 3 neurons, so the adapter would have rank 3, above --max-rank 2"):
        export_neurons(neurons, 0.5, model=str(folder), out=out, format="lora-gguf", gguf=source, max_rank=2)
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=1)
    with pytest.raises(InputError, match="is no copy of"):
        export_neurons(neurons, 0.5, model=str(folder), out=out, format="lora-gguf", gguf=other)
    assert not out.exists()
    export_neurons(neurons, 0.5, model=str(folder), out=out, format="lora-gguf", gguf=source)
    tensors = {tensor.name: np.asarray(tensor.data) for tensor in gguf.GGUFReader(out).tensors}
    assert set(tensors) == {f"blk.{layer}.ffn_down.weight.lora_{part}" for layer in (0, 2) for part in "ab"}
    down = next(t for t in gguf.GGUFReader(source).tensors if t.name == "blk.2.ffn_down.weight")
    product = tensors["blk.2.ffn_down.weight.lora_b"] @ tensors["blk.2.ffn_down.weight.lora_a"]
    wanted = np.zeros_like(product)
    columns = [4, 7, 47]
    wanted[:, columns] = -0.5 * gguf.dequantize(np.asarray(down.data), down.tensor_type)[:, columns]
    np.testing.assert_allclose(product, wanted, rtol=1e-6)


def test_a_file_without_gates_in_quantised_blocks_gives_its_own_columns(tmp_path: Path) -> None:
    """GPT-2 stores its projections transposed, and has no gate, so that only the adapter can be made."""
    folder = tmp_path / "gpt2"
    model = tiny_transformer("gpt2")
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    kind, source = gguf.GGMLQuantizationType.Q4_0, tmp_path / "gpt2.gguf"
    writer = gguf.GGUFWriter(source, "gpt2")
    for layer, block in enumerate(model.transformer.h):
        down = np.ascontiguousarray(block.mlp.c_proj.weight.detach().numpy().T)
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", gguf.quants.quantize(down, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    neurons, out = choose_neurons(load(folder)), tmp_path / "out.gguf"
    with pytest.raises(UnsupportedModelError, match=r"has no blk\.0\.ffn_up\.weight"):
        export_neurons(neurons, 0, model=str(folder), out=out, format="gguf", gguf=source)
    export_neurons(neurons, 0, model=str(folder), out=out, format="lora-gguf", gguf=source)
    b = next(t for t in gguf.GGUFReader(out).tensors if t.name == "blk.2.ffn_down.weight.lora_b")
    served = next(t for t in gguf.GGUFReader(source).tensors if t.name == "blk.2.ffn_down.weight")
    wanted = -gguf.dequantize(np.asarray(served.data), kind)[:, list(PLACES[2])]
    np.testing.assert_allclose(np.asarray(b.data), wanted, rtol=1e-6)
    stored = -model.transformer.h[2].mlp.c_proj.weight.detach().numpy().T[:, list(PLACES[2])]
    assert np.abs(np.asarray(b.data) - stored).max() > 1e-4


@pytest.mark.real_model
@pytest.mark.slow
def test_smollm2_in_llama_cpp_gives_the_hooks_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, as llama.cpp rounds activations to eight bits before it multiplies them with quantised weights."""
    demand_smollm2(monkeypatch)
    model = load_model("smollm2-135m", device="cpu")
    neurons, vocabulary = choose_neurons(model), model.model.config.vocab_size
    source = write_float32(PACKAGED["smollm2-135m"].gguf(), tmp_path / "float32.gguf")
    unit, loud = tmp_path / "unit.gguf", tmp_path / "loud.gguf"
    export_neurons(neurons, 0, model="smollm2-135m", out=unit, format="lora-gguf", gguf=source)
    export_neurons(neurons, 3, model="smollm2-135m", out=loud, format="gguf", gguf=source)
    plain, scaled = (hooked(model, neurons, alpha, SMOLLM2_IDS) for alpha in (1.0, 3.0))
    assert (scaled - plain).abs().max() > 1e-2
    with serve(source, vocabulary, lora=unit) as server:
        torch.testing.assert_close(server.next_logprobs(SMOLLM2_IDS), plain, rtol=0, atol=1e-3)
        adapted = server.next_logprobs(SMOLLM2_IDS, lora=[{"id": 0, "scale": -2.0}])
        torch.testing.assert_close(adapted, scaled, rtol=0, atol=1e-3)
        said = server.post("/v1/chat/completions", messages=[{"role": "user", "content": "Hi"}], max_tokens=4)
        assert said["choices"][0]["message"]["content"]  # type: ignore[index]
    with serve(loud, vocabulary) as server:
        torch.testing.assert_close(server.next_logprobs(SMOLLM2_IDS), scaled, rtol=0, atol=1e-3)
