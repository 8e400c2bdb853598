"""A key-value cache prefilled once and branched: one buffer a layer, written in place, its rows reused."""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class BufferLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers [rows, heads, capacity, width], of which `length` positions are used.

    The stock dynamic layer copies the whole cache at every token; this one writes the new position only.
    """

    def __init__(self, like: Tensor, rows: int, capacity: int) -> None:
        super().__init__()
        shape = (rows, like.shape[1], capacity, like.shape[3])
        # Zeros, not garbage: masked positions still enter the products, and 0 * NaN would be NaN.
        self.key_buffer, self.value_buffer = like.new_zeros(shape), like.new_zeros(shape)
        self.dtype, self.device = like.dtype, like.device
        self.is_initialized = True
        self.resize(0)

    def resize(self, length: int) -> None:
        """Use the first `length` positions."""
        self.length = length
        self.keys = self.key_buffer[:, :, :length]
        self.values = self.value_buffer[:, :, :length]

    def get_seq_length(self) -> int:
        return self.length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        start = self.length
        self.resize(start + key_states.shape[-2])
        self.keys[:, :, start:] = key_states
        self.values[:, :, start:] = value_states
        return self.keys, self.values


class BufferCache(Cache):  # type: ignore[misc]
    """`BufferLayer` for every layer of a model; operations on positions and rows of all of them."""

    layers: list[BufferLayer]

    def __init__(self, like: Cache, rows: int, capacity: int) -> None:
        super().__init__(layers=[BufferLayer(layer.keys, rows, capacity) for layer in like.layers])
        self.rows, self.capacity = rows, capacity

    def resize(self, length: int) -> None:
        for layer in self.layers:
            layer.resize(length)

    def write(
        self,
        source: Cache,
        columns: slice,
        *,
        rows: Any = slice(None),
        source_rows: Any = slice(None),
        source_columns: slice = slice(None),
    ) -> None:
        """Copy rows of `source` (broadcast where it has one) into the given positions of `rows`."""
        for layer, other in zip(self.layers, source.layers, strict=True):
            layer.key_buffer[rows, :, columns] = other.keys[source_rows][:, :, source_columns]
            layer.value_buffer[rows, :, columns] = other.values[source_rows][:, :, source_columns]

    def shift_left(self, start: int, by: int, length: int) -> None:
        """Move positions [start + by, length) to [start, length - by) and forget what was there."""
        for layer in self.layers:
            for buffer in (layer.key_buffer, layer.value_buffer):
                buffer[:, :, start : length - by] = buffer[:, :, start + by : length].clone()
            layer.resize(length - by)

    def keep_rows(self, rows: Tensor) -> None:
        """Drop all other rows."""
        for layer in self.layers:
            layer.key_buffer, layer.value_buffer = layer.key_buffer[rows], layer.value_buffer[rows]
            layer.resize(layer.length)


@torch.inference_mode()
def prefill_prefix(decoder: Any, prefix: list[int], device: torch.device, *, rows: int = 1) -> Cache:
    """Run ids once, in `rows` equal rows; the cache. A layer whose attention has a window keeps all positions, too.

    An empty prefix gives the cache of one arbitrary token cut to length zero, so that shapes are known.
    """
    cache = DynamicCache()
    decoder(input_ids=torch.tensor([prefix or [0]] * rows, device=device), past_key_values=cache, use_cache=True)
    if not prefix:
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :0], layer.values[:, :, :0]
    return cache
