"""Tiny random decoders of every dense family in transformers that hneurons can read, by the name of their config."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hneurons.models.language_model import LanguageModel
from support.tiny_models import tiny_tokenizer

_ENDS = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
_SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_MODERN = {**_SIZES, "num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8, "max_position_embeddings": 256}
_GPT = {"n_embd": 32, "n_layer": 3, "n_head": 4}
_LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
_LATENT |= {**_SIZES, "num_key_value_heads": 4, "intermediate_size": 48}

# fmt: off
MODERN = (
    "apertus", "arcee", "bitnet", "cohere", "cohere2", "cwm", "diffllama", "doge", "ernie4_5", "exaone4",
    "gemma", "gemma2", "gemma3_text", "gemma4_text", "glm", "glm4", "granite", "granite_swa", "helium",
    "hunyuan_v1_dense", "hyperclovax", "jais2", "llama", "ministral", "ministral3", "mistral", "nanochat",
    "nemotron", "olmo", "olmo2", "olmo3", "persimmon", "phi", "phi3", "qwen2", "qwen3", "seed_oss", "smollm3",
    "stablelm", "starcoder2", "vaultgemma", "biogpt",
)
# fmt: on
_OTHERS: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 32, "n_layer": 3, "n_head": 4},
    "codegen": {**_GPT, "rotary_dim": 8, "n_positions": 256},
    "ctrl": {**_GPT, "dff": 48},
    "falcon": {**_SIZES, "alibi": True},
    "gpt2": _GPT,
    "gpt_bigcode": _GPT,
    "gpt_neo": {"hidden_size": 32, "num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]]},
    "gpt_neox": {**_SIZES, "intermediate_size": 48},
    "gpt_neox_japanese": {**_SIZES, "intermediate_multiple_size": 2},
    "gptj": {**_GPT, "rotary_dim": 8, "n_positions": 256},
    "minicpm3": _LATENT,
    "mpt": {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 256},
    "opt": {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "xglm": {"d_model": 32, "num_layers": 3, "attention_heads": 4, "ffn_dim": 48},
    "youtu": _LATENT,
}
WITHOUT_CACHE = ("openai-gpt",)
# fmt: off
WINDOWED = (
    "cohere2", "cwm", "doge", "exaone4", "gemma2", "gemma3_text", "gemma4_text", "gpt_neo", "granite_swa",
    "ministral", "ministral3", "mistral", "olmo3", "phi3", "qwen2", "qwen3", "smollm3", "starcoder2",
    "vaultgemma",
)
# fmt: on
FAMILIES = sorted([*MODERN, *_OTHERS])


def family_model(family: str, *, window: int | None = None) -> LanguageModel:
    """A random model of the family, in float32, with a narrow attention window where one is given."""
    settings = _GPT if family in WITHOUT_CACHE else _OTHERS.get(family, _MODERN)
    narrow: dict[str, Any] = {}
    if window is not None:
        narrow = {"window_size": window} if family == "gpt_neo" else {"sliding_window": window}
        if family in ("qwen2", "qwen3", "smollm3"):
            narrow |= {"use_sliding_window": True, "max_window_layers": 1}
    if family == "gemma4_text":
        narrow["vocab_size_per_layer_input"] = 300
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**_ENDS, **settings, **narrow)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in model.parameters():  # default initialisation is so small that every token looks alike
        if parameter.ndim > 1:
            parameter.data.mul_(4)
    return LanguageModel(model, tiny_tokenizer(), name=family)
