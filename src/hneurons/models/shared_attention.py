"""Attention to a prefix that all rows share, computed for all of them at once instead of from a copy in each row.

There is one product of all queries with the prefix's keys, and one of each row's queries with the row's own keys. One
softmax goes over both. The sum is that of plain attention, read from memory once (cascade attention).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from hneurons.core.errors import HNeuronsError
from hneurons.models.language_model import LanguageModel

_NAME = "hneurons_shared_prefix"
_OF_THEIR_OWN = ("diffllama", "doge")  # attends twice in a layer; chooses positions by what they hold
_active: ContextVar["SharedAttention"] = ContextVar("active shared attention")


def can_share(model: LanguageModel, prefix: Cache) -> bool:
    """Whether the model's attention is plain (softmax of scaled products) and can be replaced by ours.

    The prefix has to be the same in all rows, and every layer has to keep its own keys.
    """
    return (
        bool(getattr(model.model, "_supports_attention_backend", False))
        and model.text_config._attn_implementation == "sdpa"
        and model.text_config.model_type not in _OF_THEIR_OWN
        and getattr(model.text_config, "kv_lora_rank", None) is None  # what is cached is not yet keys and values
        and len(prefix.layers) == len(model.ffns)
        and all(layer.keys.shape[0] == 1 for layer in prefix.layers)
        and (model.attention_window == model.sliding_window)
    )


class SharedAttention:
    """Stands in for a model's attention while `active`. The rows' own cache holds what comes after the prefix."""

    def __init__(self, model: LanguageModel, prefix: Cache) -> None:
        self.model, self.prefix = model, prefix
        self.length = prefix.layers[0].keys.shape[2]
        self.windows = model.layer_windows

    @contextmanager
    def active(self, lengths: Tensor) -> Iterator[None]:
        """lengths: int64 [rows], the positions of each row's own that were there before this pass."""
        config = self.model.text_config
        usual, token = config._attn_implementation, _active.set(self)
        self.lengths, self.called = lengths, 0
        self.masks: dict[int | None, Tensor] = {}
        config._attn_implementation = _NAME
        try:
            yield
        finally:
            config._attn_implementation = usual
            _active.reset(token)
        if self.called != len(self.windows):
            raise HNeuronsError(
                f"the attention of {self.model.name} was replaced in {self.called} of {len(self.windows)} layers: "
                "this architecture is not supported for sampling"
            )

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """query: [rows, heads, tokens, width]; key and value: the rows' own, [rows, groups, positions, width]."""
        place: Any = module.layer_idx
        layer, window = self.prefix.layers[place], self.windows[place]
        self.called += 1
        if window not in self.masks:
            self.masks[window] = self._mask(query.shape[2], key.shape[2], window)
        if query.shape[2] > 1:
            return self._attend_prompts(query, key, value, layer, self.masks[window], scaling)
        return self._attend_tokens(query, key, value, layer, self.masks[window], scaling)

    def _mask(self, tokens: int, positions: int, window: int | None) -> Tensor:
        """Bool [rows, 1, tokens, prefix + positions]: what each token may see."""
        lengths, start = self.lengths, self.length
        asking = start + lengths[:, None, None, None] + torch.arange(tokens, device=lengths.device)[:, None]
        seen = torch.arange(start + positions, device=lengths.device)
        mask: Tensor = seen <= asking
        return mask if window is None else mask & (seen > asking - window)

    def _attend_prompts(
        self, query: Tensor, key: Tensor, value: Tensor, layer: Any, mask: Tensor, scaling: float | None
    ) -> Tensor:
        rows, heads = query.shape[:2]
        keys, values = (
            torch.cat([shared.expand(rows, -1, -1, -1), own], dim=2).repeat_interleave(heads // own.shape[1], dim=1)
            for shared, own in ((layer.keys, key), (layer.values, value))
        )
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scaling)

    def _attend_tokens(
        self, query: Tensor, key: Tensor, value: Tensor, layer: Any, mask: Tensor, scaling: float | None
    ) -> Tensor:
        rows, heads, _, width = query.shape
        groups = key.shape[1]
        grouped = query.reshape(rows, groups, heads // groups, width) * (width**-0.5 if scaling is None else scaling)
        far = self._by_group(grouped, layer.keys[0].transpose(1, 2))
        near = grouped @ key.transpose(2, 3)
        scores = torch.cat([far, near], dim=-1).float().masked_fill_(~mask, -torch.inf)
        weights = torch.softmax(scores, dim=-1).to(query.dtype)
        found = weights[..., self.length :] @ value + self._by_group(weights[..., : self.length], layer.values[0])
        return found.reshape(rows, heads, 1, -1)

    def _by_group(self, rows: Tensor, shared: Tensor) -> Tensor:
        """[rows, groups, heads, n] times [groups, n, m], all rows in one product a group."""
        count, groups, heads, _ = rows.shape
        product = torch.bmm(rows.transpose(0, 1).reshape(groups, count * heads, -1), shared)
        return product.view(groups, count, heads, -1).transpose(0, 1)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    others["mask"] = attention_mask
    unknown = [name for name in ("softcap", "s_aux", "position_bias", "mask") if others.get(name) is not None]
    if unknown:
        raise HNeuronsError(
            f"attention with a {unknown[0]} of its own is not plain attention: this architecture is not supported"
        )
    return _active.get().attend(module, query, key, value, scaling).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attend)
