"""A tiny GGUF file of a Llama model, quantised where llama.cpp would quantise."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from support.tiny_models import tiny_tokenizer

HIDDEN, NEURONS, LAYERS, HEADS = 64, 96, 2, 4


def write_tiny_gguf(
    path: Path, *, without: str = "", hidden: int = HIDDEN, neurons: int = NEURONS, layers: int = LAYERS
) -> dict[str, np.ndarray[Any, Any]]:
    """Write random weights, all but the tensor `without`; the values by their names in the file."""
    tokenizer = tiny_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(neurons)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(tokens) - 2))
    writer.add_token_merges(merges_of(tokenizer))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    rng, values = np.random.default_rng(0), {}

    def add(name: str, *shape: int) -> None:
        value = rng.standard_normal(shape, dtype=np.float32)
        if name == without:
            return
        values[name] = value
        if len(shape) == 2 and shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quantize(value, kind)
            writer.add_tensor(name, packed, raw_dtype=kind)
            values[name] = gguf.dequantize(packed, kind)
        else:
            writer.add_tensor(name, value)

    add("token_embd.weight", len(tokens), hidden)
    add("output_norm.weight", hidden)
    for layer in range(layers):
        add(f"blk.{layer}.attn_norm.weight", hidden)
        add(f"blk.{layer}.ffn_norm.weight", hidden)
        add(f"blk.{layer}.attn_q.weight", hidden, hidden)
        add(f"blk.{layer}.attn_k.weight", hidden // 2, hidden)
        add(f"blk.{layer}.attn_v.weight", hidden // 2, hidden)
        add(f"blk.{layer}.attn_output.weight", hidden, hidden)
        add(f"blk.{layer}.ffn_gate.weight", neurons, hidden)
        add(f"blk.{layer}.ffn_up.weight", neurons, hidden)
        add(f"blk.{layer}.ffn_down.weight", hidden, neurons)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def merges_of(tokenizer: Any) -> list[str]:
    import json

    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
