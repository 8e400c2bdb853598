"""Two models are one where every weight is in its place, in whatever type they are loaded; and only then."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hneurons.core.errors import InputError
from hneurons.models import stored_weights
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.stored_weights import open_stored
from hneurons.neurons.neuron_set import NeuronSet
from support.tiny_models import DENSE, SHELLS, tiny_model, tiny_tokenizer, tiny_transformer

DTYPES = ("float32", "bfloat16", "float16")


def save(folder: Path, family: str = "llama", *, seed: int = 0, dtype: Any = torch.float32) -> str:
    tiny_transformer(family, seed=seed).to(dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("family", [*DENSE, *SHELLS])
def test_a_checkpoint_is_one_model_on_disk_and_loaded_in_every_type(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, family)
    stored = open_stored(folder)
    with monkeypatch.context() as patch:  # it is read from the files alone
        patch.delattr(stored_weights, "load_checkpoint")
        stored.weights_digest()
    for dtype in DTYPES:
        loaded = load_model(folder, dtype=dtype, device="cpu")  # type: ignore[arg-type]
        assert loaded.identity.differences(stored.identity()) == [], dtype


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_checkpoint_stored_in_half_the_bits_is_one_model_in_every_type(
    tmp_path: Path, family: str, dtype: Any
) -> None:
    folder = save(tmp_path, family, dtype=dtype)
    identities = {load_model(folder, dtype=loaded, device="cpu").identity for loaded in DTYPES}  # type: ignore[arg-type]
    assert identities == {open_stored(folder).identity()}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "opt", "gpt_neox"])
def test_a_change_of_any_one_tensor_makes_another_model(family: str) -> None:
    model = tiny_transformer(family)

    def weights() -> str:
        return LanguageModel(model, tiny_tokenizer(), name="m").identity.weights

    before, tensors = weights(), list(model.named_parameters())
    for name, tensor in tensors:
        kept = tensor.detach().clone()
        with torch.no_grad():
            for change in (redraw, swap_first_two, negate_two):
                change(tensor)
                assert weights() != before, (name, change.__name__)
                tensor.copy_(kept)
    assert weights() == before


def redraw(tensor: Any) -> None:
    tensor.copy_(torch.randn_like(tensor))


def swap_first_two(tensor: Any) -> None:
    """Of a constant tensor, such as a norm's weights, the first value changes."""
    flat = tensor.view(-1)
    first, second = flat[0].item(), flat[1].item()
    flat[0], flat[1] = (second, first) if first != second else (first + 1, second)


def negate_two(tensor: Any) -> None:
    tensor.view(-1)[-2:].neg_().add_(1e-3)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_permutation_of_all_neurons_is_another_model(family: str) -> None:
    model, other = tiny_transformer(family), tiny_transformer(family)
    order = torch.randperm(48 if family == "llama" else 128)
    with torch.no_grad():
        if family == "llama":
            for layer in other.model.layers:
                for part in (layer.mlp.gate_proj, layer.mlp.up_proj):
                    part.weight.copy_(part.weight[order])
                layer.mlp.down_proj.weight.copy_(layer.mlp.down_proj.weight[:, order])
        else:
            for block in other.transformer.h:
                block.mlp.c_fc.weight.copy_(block.mlp.c_fc.weight[:, order])
                block.mlp.c_fc.bias.copy_(block.mlp.c_fc.bias[order])
                block.mlp.c_proj.weight.copy_(block.mlp.c_proj.weight[order])
        ids = torch.tensor([[3, 4, 5]])
        assert torch.allclose(model(ids).logits, other(ids).logits, atol=1e-4), "the same function"
    first, second = (LanguageModel(m, tiny_tokenizer(), name="m").identity for m in (model, other))
    assert [d.split(":")[0] for d in first.differences(second)] == ["weights"]


@pytest.mark.parametrize("stored", ["head", "embedding", "both"])
def test_tied_weights_count_once_under_whatever_name_they_are_stored(tmp_path: Path, stored: str) -> None:
    folder = save(tmp_path, "gemma3")  # ties its embeddings
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    (key,) = [key for key in tensors if "embed_tokens" in key]
    if stored != "embedding":
        tensors["lm_head.weight"] = tensors[key].clone()
    if stored == "head":
        del tensors[key]
    before = load_model(folder, device="cpu").identity
    save_file(tensors, path, metadata={"format": "pt"})
    assert open_stored(folder).identity() == load_model(folder, device="cpu").identity == before


def test_an_output_head_of_its_own_belongs_to_the_model(tmp_path: Path) -> None:
    folder = save(tmp_path, "llama")
    before = open_stored(folder).identity()
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"][3, 3] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    assert [d.split(":")[0] for d in before.differences(open_stored(folder).identity())] == ["weights"]
    assert open_stored(folder).identity() == load_model(folder, device="cpu").identity


def test_names_that_transformers_changes_while_loading_are_followed(tmp_path: Path) -> None:
    folder = save(tmp_path, "gpt2")
    path = tmp_path / "model.safetensors"
    before = open_stored(folder).identity()
    tensors = {key.removeprefix("transformer."): tensor for key, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    assert open_stored(folder).identity() == load_model(folder, device="cpu").identity == before


def test_weights_edited_after_loading_in_float16_are_seen(tmp_path: Path) -> None:
    folder = save(tmp_path)
    model = load_model(folder, dtype="float16", device="cpu")
    with torch.no_grad():
        model.model.model.layers[0].self_attn.q_proj.weight[0, 0] += 1
    assert not model.identity.same_weights(open_stored(folder).identity())


def test_a_set_with_an_identity_of_an_earlier_version_is_taken_as_far_as_that_tells() -> None:
    model = tiny_model()
    old = replace(model.identity, weights=model.identity.weights.split("-")[0])
    assert len(old.weights) == 16
    neurons = NeuronSet.from_columns(old, np.array([1]), np.ones(1), data={})
    neurons.check_model(model)
    with pytest.raises(InputError, match="weights: "):
        neurons.check_model(tiny_model(seed=1))


def test_the_first_half_of_the_weights_is_what_earlier_versions_computed() -> None:
    assert tiny_model("llama").identity.weights.split("-")[0] == "c7cef60a9f97b16c"
    assert tiny_model("gpt2").identity.weights.split("-")[0] == "e00202fc415e1a01"
