"""LoRA adapters against the hook, through PEFT."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hneurons.core.errors import ArtifactError, InputError, StorageError, UnsupportedModelError
from hneurons.interventions.export import export_neurons
from hneurons.neurons.neuron_set import NeuronSet
from support.tiny_exports import choose_neurons, hooked_logits, load, logits, save_model

FAMILIES = ["llama", "gpt2", "opt", "gemma3", "gemma3_multimodal"]


def adapted(folder: Path, adapter: Path, scale: float = 1.0) -> torch.Tensor:
    peft = pytest.importorskip("peft")
    model = peft.PeftModel.from_pretrained(load(folder).model, adapter).eval()
    for module in model.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("default", scale)
    return logits(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_gives_the_logits_of_the_hook(tmp_path: Path, family: str) -> None:
    folder = save_model(tmp_path / "model", family)
    model = load(folder)
    neurons = choose_neurons(model)
    plain = logits(model.model)
    for alpha in (0.0, 0.5, 3.0):
        out = tmp_path / f"adapter-{alpha}"
        done = export_neurons(neurons, alpha, model=str(folder), out=out, format="lora")
        assert (done.neurons, done.layers, done.details) == (5, 2, {"rank": 3})
        wanted = hooked_logits(model, neurons, alpha)
        torch.testing.assert_close(adapted(folder, out), wanted, rtol=1e-4, atol=1e-4)
        assert (wanted - plain).abs().max() > 1e-3


def test_the_unit_adapter_at_scale_s_is_alpha_1_minus_s(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    model = load(folder)
    neurons = choose_neurons(model)
    unit = export_neurons(neurons, 0, model=str(folder), out=tmp_path / "unit", format="lora").path
    for alpha in (1.0, 0.25, 2.0):
        wanted = hooked_logits(model, neurons, alpha)
        torch.testing.assert_close(adapted(folder, unit, 1 - alpha), wanted, rtol=1e-4, atol=1e-4)


def test_the_unit_adapter_is_one_hot_rows_and_negated_columns_padded_to_one_rank(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    model = load(folder)
    out = export_neurons(choose_neurons(model), 0, model=str(folder), out=tmp_path / "unit", format="lora").path
    tensors = load_file(out / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.{}.mlp.down_proj.lora_{}.weight"
    assert sorted(tensors) == sorted(prefix.format(layer, part) for layer in (0, 2) for part in "AB")
    a, b = tensors[prefix.format(0, "A")], tensors[prefix.format(0, "B")]
    assert a.shape == (3, 48) and b.shape == (32, 3)
    assert a.nonzero().tolist() == [[0, 3], [1, 40]] and a.sum() == 2
    assert torch.equal(b[:, :2], -model.ffns[0].columns[:, [3, 40]])
    assert not b[:, 2].any()
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 3
    assert config["target_modules"] == ["model.layers.0.mlp.down_proj", "model.layers.2.mlp.down_proj"]


def test_an_export_says_what_it_is(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    neurons = choose_neurons(load(folder))
    out = export_neurons(neurons, 2, model=str(folder), out=tmp_path / "a", format="lora").path
    row = json.loads((out / "hneurons_export.json").read_text())
    assert row["alpha"] == 2 and row["format"] == "lora" and row["data"] == {"planted": 1}
    assert row["neurons"] == [[0, 3], [0, 40], [2, 4], [2, 7], [2, 47]]
    assert row["model"]["weights"] == neurons.identity.weights


def test_an_alpha_that_makes_infinite_weights_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    neurons = choose_neurons(load(folder))
    with pytest.raises(InputError, match="too large"):
        export_neurons(neurons, 1e45, model=str(folder), out=tmp_path / "a", format="lora")
    assert not (tmp_path / "a").exists()


def test_a_rank_above_what_the_engine_serves_is_refused_by_layer(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    neurons = choose_neurons(load(folder))
    with pytest.raises(InputError, match="layer 2 has 3 neurons, so the adapter would have rank 3, above --max-rank 2"):
        export_neurons(neurons, 0, model=str(folder), out=tmp_path / "a", format="lora", max_rank=2)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("format", ["lora", "weights"])
def test_neurons_of_another_model_are_refused_with_the_difference(tmp_path: Path, format: str) -> None:
    folder, other = save_model(tmp_path / "model"), save_model(tmp_path / "other", seed=1)
    neurons = choose_neurons(load(other))
    with pytest.raises(InputError, match=r"belong to .*other, not to .*model \(weights: "):
        export_neurons(neurons, 0, model=str(folder), out=tmp_path / "a", format=format)
    small = save_model(tmp_path / "qwen", "qwen2")
    with pytest.raises(InputError, match=r"\(architecture: llama against qwen2"):
        export_neurons(neurons, 0, model=str(small), out=tmp_path / "a", format=format)


def test_bad_alphas_formats_sets_and_places_are_one_sentence(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    neurons = choose_neurons(load(folder))

    def export(chosen: NeuronSet = neurons, alpha: float = 0, out: str = "a", format: str = "lora") -> None:
        export_neurons(chosen, alpha, model=str(folder), out=tmp_path / out, format=format)

    with pytest.raises(InputError, match="unknown format 'onnx': known are lora, weights, gguf"):
        export(format="onnx")
    for alpha in (float("nan"), float("inf"), "much"):
        with pytest.raises(InputError, match="alpha should be a finite number"):
            export(alpha=alpha)
    empty = NeuronSet.from_columns(neurons.identity, np.zeros(0, np.int64), np.zeros(0), data={})
    with pytest.raises(InputError, match="the neuron set is empty"):
        export(empty)
    twice = NeuronSet.from_columns(neurons.identity, np.array([5, 5]), np.ones(2), data={})
    with pytest.raises(InputError, match="names a neuron twice"):
        export(twice)
    with pytest.raises(InputError, match="model exists already"):
        export(out="model")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"could not write .*: File exists: choose another folder"):
        export(out="file/adapter")
    with pytest.raises(StorageError, match="could not write"):
        export_neurons(neurons, 0, model=str(folder), out=Path("/proc/hneurons/adapter"), format="lora")


def test_a_damaged_or_strange_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    neurons = choose_neurons(load(folder))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="damaged or truncated"):
        export_neurons(neurons, 0, model=str(folder), out=tmp_path / "a", format="weights")
    weights.unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        export_neurons(neurons, 0, model=str(folder), out=tmp_path / "a", format="weights")
    experts = save_model(tmp_path / "experts", "mixtral")
    with pytest.raises(UnsupportedModelError, match="mixture of experts"):
        export_neurons(neurons, 0, model=str(experts), out=tmp_path / "a", format="lora")
    assert not (tmp_path / "a").exists()
