"""A loaded decoder with everything the stages need to know about it."""

from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hneurons.core.errors import HNeuronsError, InputError, PromptTooLongError
from hneurons.core.types import ModelIdentity
from hneurons.models.checkpoints import load_checkpoint
from hneurons.models.ffn import FFN, find_ffns, text_decoder
from hneurons.models.identity import build_identity, identify_weights
from hneurons.models.prompt_check import check_distinct
from hneurons.models.prompts import PromptStyle, encode_prompt, uses_chat

DType = Literal["float32", "bfloat16", "float16"]


class LanguageModel:
    """A decoder in eval mode, its tokenizer and its FFNs.

    Attributes: `model` (transformers), `tokenizer`, `ffns` (one per decoder layer), `name` as the user gave it,
    `source` the folder or hub id it was loaded from, if any.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any, *, name: str, source: str | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.source = source
        self.ffns: list[FFN] = find_ffns(model)
        self._checked_styles: set[PromptStyle] = set()

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def decoder(self) -> nn.Module:
        """The base model without LM head."""
        return text_decoder(self.model)

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, neurons per layer)."""
        return len(self.ffns), self.ffns[0].neurons

    @cached_property
    def window(self) -> int:
        config = self.model.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", 0) or 1 << 30)

    @cached_property
    def attention_window(self) -> int:
        """The narrowest sliding attention window of any layer; very large where there is none."""
        config = self.model.config.get_text_config(decoder=True)
        window = getattr(config, "sliding_window", None)
        return window if isinstance(window, int) and getattr(config, "use_sliding_window", True) else 1 << 30

    @cached_property
    def column_norms(self) -> Tensor:
        """||W_down[:, j]||_2 of every neuron, float32 [layers, neurons]."""
        return torch.stack([ffn.column_norms() for ffn in self.ffns])

    @cached_property
    def identity(self) -> ModelIdentity:
        weights = identify_weights(self.model, self.ffns)
        if self.model.dtype == torch.float16 and self.source is not None:
            weights = _weights_before_float16(self.source, weights)
        return build_identity(self.name, self.model.config, self.ffns, weights, self.tokenizer)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a turn: the tokenizer's and the generation config's end-of-sequence tokens."""
        ids = {self.tokenizer.eos_token_id}
        configured = self.model.generation_config.eos_token_id if self.model.generation_config else None
        ids.update(configured if isinstance(configured, list) else [configured])
        ends = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>")
        ids.update(i for i in (self.tokenizer.get_vocab().get(token) for token in ends))
        return frozenset(i for i in ids if i is not None)

    @cached_property
    def newline_ids(self) -> frozenset[int]:
        """Ids whose text holds a line break: where a base model's answer ends."""
        ids = list(range(len(self.tokenizer)))
        texts = self.tokenizer.batch_decode([[i] for i in ids])
        return frozenset(i for i, text in zip(ids, texts, strict=True) if "\n" in text)

    def stops(self, style: PromptStyle) -> frozenset[int]:
        return self.stop_ids if uses_chat(self.tokenizer, style) else self.stop_ids | self.newline_ids

    def encode(self, question: str, style: PromptStyle, *, room: int = 0) -> list[int]:
        """Prompt ids.

        Raises `PromptTooLongError` when prompt plus `room` new tokens exceed the window, `InputError` where the prompt
        would not ask the question.
        """
        if style not in self._checked_styles:
            check_distinct(lambda probe: encode_prompt(self.tokenizer, probe, style))
            self._checked_styles.add(style)
        ids = encode_prompt(self.tokenizer, question, style)
        if len(ids) + room > self.window:
            raise PromptTooLongError(
                f"the question {question[:40]!r}… takes {len(ids)} tokens and {room} more are to be generated, but the "
                f"window of {self.name} holds {self.window}: shorten it, use fewer shots or fewer new tokens"
            )
        return ids


def load_model(model: str, *, dtype: DType = "float32", device: str | None = None) -> LanguageModel:
    """Load a decoder by hub id, local folder, `.gguf` file or packaged alias (`smollm2-135m`, `gemma-3-270m`).

    Raises `InputError` when it cannot be found, `UnsupportedModelError` when its layers hold no single dense FFN.
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise InputError(f"unknown dtype '{dtype}': known are float32, bfloat16, float16")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    loaded, tokenizer, source = load_checkpoint(model, dtype=dtype, device=device)
    return LanguageModel(loaded, tokenizer, name=model, source=source)


def _weights_before_float16(source: str, loaded: str) -> str:
    """The digest of the checkpoint's own weights, if those loaded are they: float16 rounds off what bfloat16 keeps."""
    from hneurons.models.stored_weights import open_stored

    try:
        stored = open_stored(source)
    except HNeuronsError:  # of another format than safetensors
        return loaded
    return stored.weights_digest() if stored.weights_digest(torch.float16) == loaded else loaded
