"""Tiny random decoders of many families, and a tiny tokenizer, made in memory: structure without weights."""

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_TEXT = [
    "Question: What is the capital of France? Answer: Paris, of course.",
    "Who wrote Hamlet? It was William Shakespeare, in the year 1600 or so.",
    "The quick brown fox jumps over the lazy dog while naïve café owners sip 東京 tea 🙂.",
]
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 300}
GATED = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 2}


def tiny_tokenizer(*, chat: bool = False) -> Any:
    """A byte-level BPE tokenizer with at most 300 tokens; `<s>` begins and `</s>` ends."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    if chat:
        fast.chat_template = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}<s>answer:"
    return fast


def _config(family: str) -> Any:
    t = transformers
    gated = {  # by name: to name the classes would import them all
        "llama": "LlamaConfig",
        "mistral": "MistralConfig",
        "gemma2": "Gemma2Config",
        "gemma3": "Gemma3TextConfig",
        "qwen2": "Qwen2Config",
        "qwen3": "Qwen3Config",
        "phi3": "Phi3Config",
        "olmo2": "Olmo2Config",
    }
    if family in gated:
        extra: dict[str, Any] = {"head_dim": 8} if family in ("gemma2", "gemma3", "qwen3", "mistral") else {}
        return getattr(t, gated[family])(**GATED, **extra, pad_token_id=0, bos_token_id=0, eos_token_id=1)
    if family == "gpt2":
        return t.GPT2Config(n_embd=32, n_layer=3, n_head=4, vocab_size=300, bos_token_id=0, eos_token_id=1)
    if family == "gpt_neox":
        return t.GPTNeoXConfig(**SMALL, intermediate_size=48, bos_token_id=0, eos_token_id=1)
    if family == "opt":
        return t.OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, bos_token_id=0, eos_token_id=1, pad_token_id=0)
    text = {**GATED, "head_dim": 8}
    if family == "gemma3_multimodal":
        vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        return t.Gemma3Config(text_config=text, vision_config={**vision, "image_size": 28, "patch_size": 14})
    if family == "mistral3_multimodal":
        vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        return t.Mistral3Config(
            text_config={**text, "model_type": "mistral"},
            vision_config={**vision, "head_dim": 8, "image_size": 28, "patch_size": 14, "model_type": "pixtral"},
        )
    if family == "mixtral":
        return t.MixtralConfig(**GATED, num_local_experts=2)
    if family == "qwen2_moe":
        return t.Qwen2MoeConfig(**GATED, num_experts=4, moe_intermediate_size=24, shared_expert_intermediate_size=48)
    raise ValueError(family)


DENSE = ("llama", "mistral", "gemma2", "gemma3", "qwen2", "qwen3", "phi3", "olmo2", "gpt2", "gpt_neox", "opt")
SHELLS = ("gemma3_multimodal", "mistral3_multimodal")
EXPERTS = ("mixtral", "qwen2_moe")


def tiny_transformer(family: str, *, seed: int = 0) -> Any:
    """A random transformers model in float32 and eval mode."""
    torch.manual_seed(seed)
    config = _config(family)
    auto = transformers.AutoModelForImageTextToText if family in SHELLS else transformers.AutoModelForCausalLM
    model = auto.from_config(config).float().eval()
    for parameter in model.parameters():  # default initialisation is so small that every token looks alike
        if parameter.ndim > 1:
            parameter.data.mul_(4)
    return model


def tiny_model(family: str = "llama", *, chat: bool = False, seed: int = 0) -> Any:
    """A `LanguageModel` around `tiny_transformer`."""
    from hneurons.models.language_model import LanguageModel

    return LanguageModel(tiny_transformer(family, seed=seed), tiny_tokenizer(chat=chat), name=f"tiny-{family}")
