"""Features by column: an array in memory, or the shards of a contributions folder read slab by slab.

A folder holds three kinds of files:

- `manifest.json`.
- `rows.jsonl`: one object for each row, with `id`, `question_id` and `region`.
- `shard-00000.safetensors`, `shard-00001.safetensors`, ...: up to 256 rows each. A shard has one float16 tensor for
  each layer (`layer.000`, `layer.001`, ...) of shape [rows in shard, neurons].

Column (layer, neuron) has the index layer * neurons + neuron. Shards are read with pread: mapping them whole would let
resident memory grow to their size.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hneurons.core.artifacts import ROWS, Manifest
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.files import read_jsonl
from hneurons.core.seeds import fingerprint

Float32s = NDArray[np.float32]
Indices = NDArray[np.int64]
SLAB = 1 << 26


class ColumnMatrix(Protocol):
    """Rows x columns of features that are visited slab by slab, a slab being all rows of some adjacent columns."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def row_ids(self) -> Sequence[str]: ...

    @property
    def content(self) -> str:
        """16 hex digits that identify the values."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether `gather` is much cheaper than going through all slabs."""
        ...

    def slabs(self, memory: int) -> Iterator[tuple[slice, Float32s]]:
        """All columns in order, float32 [rows, columns of the slab], read-only and valid until the next one is asked
        for, in about `memory` bytes."""
        ...

    def gather(self, columns: Indices, memory: int) -> Float32s:
        """The named columns, float32 [columns, rows]: one row of the result is one column of the matrix."""
        ...


def check_finite(matrix: ColumnMatrix, columns: slice, slab: Float32s) -> None:
    """Raise `InputError` naming the row id and column of the first NaN or infinite value of a slab."""
    places = np.argwhere(~np.isfinite(slab))
    if len(places):
        row, column = places[0]
        raise InputError(
            f"row '{matrix.row_ids[row]}' holds {slab[row, column]} in column {columns.start + column} where a finite "
            "number was expected: measure that row again or leave it out"
        )


@dataclass(frozen=True)
class ArrayMatrix:
    """A numpy array of float16, float32 or float64, [rows, columns]."""

    values: NDArray[Any]
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise InputError(f"features have {self.values.ndim} dimensions, expected [rows, columns]")
        if self.ids and len(self.ids) != len(self.values):
            raise InputError(f"{len(self.values)} rows of features but {len(self.ids)} row ids: give one id a row")

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    @property
    def row_ids(self) -> Sequence[str]:
        return self.ids or tuple(str(i) for i in range(len(self.values)))

    @property
    def content(self) -> str:
        digest = hashlib.blake2b(repr((self.shape, str(self.values.dtype))).encode(), digest_size=8)
        for row in self.values:
            digest.update(np.ascontiguousarray(row).data)
        return digest.hexdigest()

    @property
    def in_memory(self) -> bool:
        return True

    def slabs(self, memory: int) -> Iterator[tuple[slice, Float32s]]:
        rows, columns = self.shape
        # Beyond some size a larger slab only costs cache misses and page faults.
        width = max(1, min(columns, min(memory, SLAB) // (4 * max(rows, 1))))
        buffer = None if self.values.dtype == np.float32 else np.empty((rows, width), dtype=np.float32)
        for start in range(0, columns, width):
            part = slice(start, min(start + width, columns))
            yield part, _to_float32(self.values[:, part], buffer)

    def gather(self, columns: Indices, memory: int) -> Float32s:
        return np.ascontiguousarray(self.values[:, columns].T, dtype=np.float32)


def _to_float32(values: NDArray[Any], buffer: Float32s | None) -> Float32s:
    if buffer is None:
        return values
    out = buffer[:, : values.shape[1]]
    if values.dtype == np.float16:
        import torch

        torch.from_numpy(out).copy_(torch.from_numpy(values))  # about 7 times faster than numpy's conversion
    else:
        out[...] = values
    return out


class _Shard(NamedTuple):
    path: Path
    rows: int
    offsets: tuple[int, ...]
    """Byte offset of each layer's tensor in the file."""


class _Piece(NamedTuple):
    layer: int
    start: int
    stop: int


class ShardMatrix:
    """The contributions in `folder`, or those of the rows numbered `rows`, in that order.

    Raises `ArtifactError` naming the shard that is missing, truncated or damaged, `InputError` for a row that is not
    there.
    """

    def __init__(self, folder: Path, rows: Sequence[int] | Indices | None = None) -> None:
        self.folder = folder
        self.manifest = Manifest.load(folder)
        table = read_jsonl(folder / ROWS)
        paths = sorted(folder.glob("shard-*.safetensors"))
        if not paths:
            raise ArtifactError(f"{folder} has no shard-*.safetensors: run 'contributions' again")
        if [path.name for path in paths] != [f"shard-{i:05d}.safetensors" for i in range(len(paths))]:
            raise ArtifactError(f"{folder} lacks one of its {len(paths)} or more shards: run 'contributions' again")
        headers = [_read_header(path) for path in paths]
        self.layers, self.neurons = len(headers[0][0].offsets), headers[0][1]
        for shard, neurons in headers:
            if (len(shard.offsets), neurons) != (self.layers, self.neurons):
                raise ArtifactError(
                    f"{shard.path} holds {len(shard.offsets)} layers of {neurons} neurons where "
                    f"{paths[0].name} holds {self.layers} of {self.neurons}: run 'contributions' again"
                )
        self._shards = [shard for shard, _ in headers]
        found = sum(shard.rows for shard in self._shards)
        if found != len(table):
            raise ArtifactError(
                f"{folder} has {found} rows in its shards, the last being {paths[-1].name}, but {len(table)} in "
                f"{ROWS}: run 'contributions' again"
            )
        chosen = np.arange(found) if rows is None else np.asarray(rows, dtype=np.int64)
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < found):
            raise InputError(f"{folder} has rows 0 to {found - 1}; row {chosen.max()} was asked for")
        self.rows = [table[i] for i in chosen]
        self._chosen = chosen
        starts = np.cumsum([0, *(shard.rows for shard in self._shards)])
        self._places = [
            (places, chosen[places] - low)
            for low, high in pairwise(starts)
            for places in [np.flatnonzero((chosen >= low) & (chosen < high))]
        ]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._chosen), self.layers * self.neurons

    @property
    def row_ids(self) -> Sequence[str]:
        return [str(row["id"]) for row in self.rows]

    @property
    def content(self) -> str:
        sizes = [(shard.path.name, shard.path.stat().st_size) for shard in self._shards]
        # The rows alone do not tell what was measured: another signal or number type gives the same ones.
        return fingerprint([self.manifest.fingerprint, self.manifest.content, sizes, self._chosen.tolist()])

    @property
    def in_memory(self) -> bool:
        return False

    def slabs(self, memory: int) -> Iterator[tuple[slice, Float32s]]:
        for pieces, slab in self._read_ahead(self._cut(memory), memory):
            first, last = pieces[0], pieces[-1]
            yield slice(first.layer * self.neurons + first.start, last.layer * self.neurons + last.stop), slab

    def gather(self, columns: Indices, memory: int) -> Float32s:
        out = np.empty((len(columns), self.shape[0]), dtype=np.float32)
        starts = []
        wanted = []
        for pieces in self._cut(memory):
            low = pieces[0].layer * self.neurons + pieces[0].start
            high = pieces[-1].layer * self.neurons + pieces[-1].stop
            places = np.flatnonzero((columns >= low) & (columns < high))
            if places.size:
                wanted.append(pieces)
                starts.append((low, places))
        for (low, places), (_, slab) in zip(starts, self._read_ahead(wanted, memory), strict=True):
            out[places] = slab[:, columns[places] - low].T
        return out

    def _cut(self, memory: int) -> list[list[_Piece]]:
        """Adjacent pieces of layers whose two float32 buffers and one raw buffer fit into `memory`."""
        largest = max((shard.rows for shard in self._shards), default=1)
        width = max(1, memory // (8 * max(1, len(self._chosen)) + 2 * largest))
        if width >= self.neurons:
            count = width // self.neurons
            layers = range(self.layers)
            return [[_Piece(i, 0, self.neurons) for i in layers[at : at + count]] for at in layers[::count]]
        return [
            [_Piece(layer, start, min(start + width, self.neurons))]
            for layer in range(self.layers)
            for start in range(0, self.neurons, width)
        ]

    def _read_ahead(self, cuts: list[list[_Piece]], memory: int) -> Iterator[tuple[list[_Piece], Float32s]]:
        """Read the next slab in a second thread while the caller computes with this one."""
        if not cuts:
            return
        widest = max(sum(piece.stop - piece.start for piece in pieces) for pieces in cuts)
        buffers = [np.empty((self.shape[0], widest), dtype=np.float32) for _ in range(2)]
        raw = np.empty(max(shard.rows for shard in self._shards) * self.neurons, dtype=np.float16)
        files = [os.open(shard.path, os.O_RDONLY) for shard in self._shards]
        reader = ThreadPoolExecutor(1)
        try:
            ahead = reader.submit(self._read, cuts[0], buffers[0], raw, files)
            for number, pieces in enumerate(cuts):
                slab = ahead.result()
                if number + 1 < len(cuts):
                    ahead = reader.submit(self._read, cuts[number + 1], buffers[(number + 1) % 2], raw, files)
                yield pieces, slab
        finally:
            reader.shutdown()
            for file in files:
                os.close(file)

    def _read(self, pieces: list[_Piece], buffer: Float32s, raw: NDArray[np.float16], files: list[int]) -> Float32s:
        import torch

        slab = buffer[:, : sum(piece.stop - piece.start for piece in pieces)]
        target = torch.from_numpy(slab)
        for shard, (places, local), file in zip(self._shards, self._places, files, strict=True):
            if not places.size:
                continue
            low, high = int(local.min()), int(local.max()) + 1
            everything = len(local) == high - low and bool((np.diff(local) == 1).all() and (np.diff(places) == 1).all())
            at = 0
            for piece in pieces:
                width = piece.stop - piece.start
                block = raw[: (high - low) * width].reshape(high - low, width)
                origin = shard.offsets[piece.layer] + 2 * (low * self.neurons + piece.start)
                if width == self.neurons:
                    _pread(file, block, origin, shard.path)
                else:
                    for row in range(high - low):
                        _pread(file, block[row], origin + 2 * row * self.neurons, shard.path)
                halves = torch.from_numpy(block)
                if everything:
                    target[int(places[0]) : int(places[-1]) + 1, at : at + width].copy_(halves)
                else:
                    target[torch.from_numpy(places), at : at + width] = halves[torch.from_numpy(local - low)].float()
                at += width
        return slab


def _pread(file: int, block: NDArray[np.float16], offset: int, path: Path) -> None:
    view = block.data.cast("B")
    while view:
        count = os.preadv(file, [view], offset)
        if count == 0:
            raise ArtifactError(f"{path} is truncated: no data at byte {offset}; run 'contributions' again")
        view, offset = view[count:], offset + count


def _read_header(path: Path) -> tuple[_Shard, int]:
    """Layer offsets and neurons a layer of one shard, its size checked against its header."""
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError(f"its header of {length} bytes is longer than the file")
            entries = json.loads(file.read(length))
        entries.pop("__metadata__", None)
        names = sorted(entries)
        if not names or names != [f"layer.{i:03d}" for i in range(len(names))]:
            raise ValueError("its tensors are not layer.000, layer.001, ...")
        if {entry["dtype"] for entry in entries.values()} != {"F16"}:
            raise ValueError("its tensors are not float16")
        shapes = {tuple(entry["shape"]) for entry in entries.values()}
        if len(shapes) != 1:
            raise ValueError("its layers differ in shape")
        rows, neurons = shapes.pop()
        spans = [entries[name]["data_offsets"] for name in names]
        if any(stop - start != 2 * rows * neurons for start, stop in spans):
            raise ValueError("its offsets do not match its shapes")
        end = 8 + length + max(stop for _, stop in spans)
        if size != end:
            raise ValueError(f"it has {size} bytes where its header promises {end}")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ArtifactError(f"{path} is damaged or truncated ({error}): run 'contributions' again") from error
    return _Shard(path, rows, tuple(8 + length + start for start, _ in spans)), neurons
