"""A loaded decoder with everything the stages need to know about it."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hneurons.core.errors import HNeuronsError, PromptTooLongError
from hneurons.core.types import ModelIdentity
from hneurons.models.checkpoints import load_checkpoint
from hneurons.models.ffn import FFN, find_ffns, text_decoder
from hneurons.models.identity import build_identity, identify_weights
from hneurons.models.precision import DType, choose_device, choose_dtype
from hneurons.models.prompt_check import check_distinct
from hneurons.models.prompts import PromptStyle, encode_prompt, uses_chat

_ENDLESS = 1 << 30
_ATTENTION = ("full_attention", "sliding_attention", "chunked_attention")
_WINDOWS = ("window_size", "attention_window", "attention_window_size", "attention_chunk_size", "local_attention")


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
    def dtype_setting(self) -> dict[str, str]:
        """What a stage's settings say of the arithmetic: nothing for float32, which is the default."""
        name = str(self.model.dtype).removeprefix("torch.")
        return {} if name == "float32" else {"dtype": name}

    @property
    def decoder(self) -> nn.Module:
        """The base model without LM head."""
        return text_decoder(self.model)

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, neurons per layer)."""
        return len(self.ffns), self.ffns[0].neurons

    @property
    def text_config(self) -> Any:
        """The decoder's part of the transformers config."""
        return self.model.config.get_text_config(decoder=True)

    @cached_property
    def window(self) -> int:
        return int(getattr(self.text_config, "max_position_embeddings", 0) or _ENDLESS)

    @property
    def sliding_window(self) -> int:
        """The width of the layers that slide; very large where none does."""
        window = getattr(self.text_config, "sliding_window", None)
        used = getattr(self.text_config, "use_sliding_window", True)
        return window if isinstance(window, int) and used else _ENDLESS

    @cached_property
    def attention_window(self) -> int:
        """The narrowest window of attention in any layer, by whatever name; very large where there is none."""
        named = [getattr(self.text_config, name, None) for name in _WINDOWS]
        return min([self.sliding_window, *(window for window in named if isinstance(window, int) and window > 0)])

    @cached_property
    def layer_windows(self) -> list[int | None]:
        """Each layer's sliding window, None where it sees everything before."""
        window = None if self.sliding_window == _ENDLESS else self.sliding_window
        kinds = getattr(self.text_config, "layer_types", None) or ["sliding_attention"] * len(self.ffns)
        return [window if kind == "sliding_attention" else None for kind in kinds]

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

    @cached_property
    def _accepts(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.model.forward).parameters)

    @property
    def takes_positions(self) -> bool:
        """Whether the model is told its tokens' positions; others count them from the cache or the mask."""
        return "position_ids" in self._accepts

    @property
    def keeps_cache(self) -> bool:
        """Whether all that tokens already run leave behind are keys and values, and these can be kept."""
        kinds = getattr(self.text_config, "layer_types", None) or ()
        return "past_key_values" in self._accepts and all(kind in _ATTENTION for kind in kinds)

    @property
    def keeps_some_logits(self) -> bool:
        """Whether a pass can be asked for the logits of some places alone."""
        return "logits_to_keep" in self._accepts

    def logits_at(self, ids: Tensor, places: Sequence[int], inputs: Mapping[str, Any]) -> Tensor:
        """Run ids [rows, tokens] and return the logits [rows, places, vocabulary] at the same places in every row."""
        if "logits_to_keep" in self._accepts:
            kept = torch.tensor(places, device=ids.device)
            found: Tensor = self.model(input_ids=ids, logits_to_keep=kept, **inputs).logits
        else:
            found = self.model(input_ids=ids, **inputs).logits[:, list(places)]
        return found

    def last_logits(self, ids: Tensor, last: Sequence[int], inputs: Mapping[str, Any]) -> Tensor:
        """Run ids [rows, tokens] and return the logits [rows, vocabulary] at one place in each row."""
        places, rows = sorted(set(last)), torch.arange(len(last), device=ids.device)
        return self.logits_at(ids, places, inputs)[rows, [places.index(place) for place in last]]

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


def load_model(model: str, *, dtype: DType = "auto", device: str | None = None) -> LanguageModel:
    """Load a decoder by hub id, local folder, `.gguf` file or packaged alias (`smollm2-135m`, `gemma-3-270m`).

    `dtype` "auto" is what the hardware is good at (`choose_dtype`).

    Raises `InputError` when it cannot be found, `UnsupportedModelError` when its layers hold no single dense FFN.
    """
    device = choose_device(device)
    loaded, tokenizer, source = load_checkpoint(model, dtype=choose_dtype(dtype, device), device=device)
    return LanguageModel(loaded, tokenizer, name=model, source=source)


def _weights_before_float16(source: str, loaded: str) -> str:
    """The digest of the checkpoint's own weights, if those loaded are they: float16 rounds off what bfloat16 keeps."""
    from hneurons.models.stored_weights import open_stored

    try:
        stored = open_stored(source)
    except HNeuronsError:  # of another format than safetensors
        return loaded
    return stored.weights_digest() if stored.weights_digest(torch.float16) == loaded else loaded
