"""A key-value cache prefilled once and branched: one buffer a layer, written in place, its rows reused."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class Past(NamedTuple):
    """What a row left in the cache: its token ids, and each layer's keys and values, [heads, positions, width]."""

    ids: list[int]
    keys: list[Tensor]
    values: list[Tensor]


class BufferLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers [rows, heads, capacity, width], each row filled to a length of its own.

    A row's positions lie side by side from the first on. The stock dynamic layer copies the whole cache at every token;
    this one writes the new positions only.
    """

    def __init__(self, like: Tensor, rows: int, capacity: int, *, values_like: Tensor) -> None:
        super().__init__()
        # Zeros, not garbage: masked positions still enter the products, and 0 * NaN would be NaN.
        self.key_buffer = like.new_zeros(rows, like.shape[1], capacity, like.shape[3])
        self.value_buffer = values_like.new_zeros(rows, values_like.shape[1], capacity, values_like.shape[3])
        self.dtype, self.device = like.dtype, like.device
        self.is_initialized = True
        self.resize(0)

    def resize(self, length: int) -> None:
        """Use the first `length` positions of all rows; the next pass is written after them."""
        self.starts: Tensor | None = None
        self._use(self.key_buffer.shape[0], length)

    def use_rows(self, starts: Tensor, length: int) -> None:
        """Use the first rows; the next pass is written from each row's own `starts` on, `length` being the largest."""
        self.starts = starts
        self._use(len(starts), length)

    def _use(self, rows: int, length: int) -> None:
        self.rows, self.length = rows, length
        self.keys, self.values = self.key_buffer[:rows, :, :length], self.value_buffer[:rows, :, :length]

    def get_seq_length(self) -> int:
        return self.length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        start, starts = self.length, self.starts
        self._use(self.rows, start + key_states.shape[-2])
        if starts is None:
            self.keys[:, :, start:] = key_states
            self.values[:, :, start:] = value_states
        else:
            rows = torch.arange(self.rows, device=starts.device)[:, None]
            places = starts[:, None] + torch.arange(key_states.shape[-2], device=starts.device)
            self.keys[rows, :, places] = key_states.transpose(1, 2)
            self.values[rows, :, places] = value_states.transpose(1, 2)
        return self.keys, self.values


class BufferCache(Cache):  # type: ignore[misc]
    """`BufferLayer` for every layer of a model; operations on positions and rows of all of them."""

    layers: list[BufferLayer]

    def __init__(self, like: Cache, rows: int, capacity: int) -> None:
        super().__init__(
            layers=[BufferLayer(layer.keys, rows, capacity, values_like=layer.values) for layer in like.layers]
        )
        self.rows, self.capacity = rows, capacity

    def resize(self, length: int) -> None:
        for layer in self.layers:
            layer.resize(length)

    def use_rows(self, starts: Tensor, length: int) -> None:
        for layer in self.layers:
            layer.use_rows(starts, length)

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
            keys, values = getattr(other, "key_buffer", other.keys), getattr(other, "value_buffer", other.values)
            layer.key_buffer[rows, :, columns] = keys[source_rows][:, :, source_columns]
            layer.value_buffer[rows, :, columns] = values[source_rows][:, :, source_columns]

    def restore(self, row: int, past: Past, positions: slice) -> None:
        """Copy some positions of what another row left to the beginning of a row."""
        for layer, keys, values in zip(self.layers, past.keys, past.values, strict=True):
            end = positions.stop - positions.start
            layer.key_buffer[row, :, :end], layer.value_buffer[row, :, :end] = keys[:, positions], values[:, positions]

    def take(self, row: int, ids: list[int], prefix: Cache | None) -> Past:
        """A copy of what a row holds of these ids, the first of which are in a `prefix` that all rows share."""
        parts: list[list[Tensor]] = [[], []]
        for place, layer in enumerate(self.layers):
            shared = None if prefix is None else prefix.layers[place]
            start = 0 if shared is None else shared.keys.shape[2]
            own = (buffer[row, :, : len(ids) - start] for buffer in (layer.key_buffer, layer.value_buffer))
            before = (None, None) if shared is None else (shared.keys[0], shared.values[0])
            for part, mine, first in zip(parts, own, before, strict=True):
                part.append(mine.clone() if first is None else torch.cat([first, mine], dim=1))
        return Past(ids, *parts)

    def copy_row(self, source: int, target: int, columns: slice) -> None:
        """Copy one row's positions over another's."""
        for layer in self.layers:
            for buffer in (layer.key_buffer, layer.value_buffer):
                buffer[target, :, columns] = buffer[source, :, columns]

    def add_positions(self, positions: int) -> None:
        """Make every row longer, one layer after the other, so that little is held twice."""
        for layer in self.layers:
            for name in ("key_buffer", "value_buffer"):
                buffer = getattr(layer, name)
                more = buffer.new_zeros(*buffer.shape[:2], positions, buffer.shape[3])
                setattr(layer, name, torch.cat([buffer, more], dim=2))
        self.capacity += positions

    def add_rows(self, rows: int) -> None:
        """Make room for more rows."""
        for layer in self.layers:
            layer.key_buffer, layer.value_buffer = (
                torch.cat([buffer, buffer.new_zeros(rows, *buffer.shape[1:])])
                for buffer in (layer.key_buffer, layer.value_buffer)
            )
        self.rows += rows


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


class PrefixPast:
    """The cache of ids that every batch begins with: run once, reused by every pass."""

    def __init__(self, decoder: Any, prefix: list[int], device: torch.device) -> None:
        """An empty prefix keeps nothing, and passes then run without a cache."""
        self.length = len(prefix)
        self._cache = prefill_prefix(decoder, prefix, device) if prefix else None
        self._buffer: BufferCache | None = None

    def inputs(self, rows: int, tokens: int) -> dict[str, Any]:
        """What a pass of so many rows and tokens behind the prefix is given besides its ids."""
        if self._cache is None:
            return {"use_cache": False}
        capacity = self.length + tokens
        if self._buffer is None or self._buffer.rows != rows or self._buffer.capacity < capacity:
            self._buffer = BufferCache(self._cache, rows, capacity)
            self._buffer.write(self._cache, slice(0, self.length))
        self._buffer.resize(self.length)
        return {"past_key_values": self._buffer, "use_cache": True}
