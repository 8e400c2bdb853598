"""Tensors in safetensors files: the headers say where their bytes are, which are read with pread.

Mapping a file would let resident memory grow to its size.
"""

import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hneurons.core.errors import ArtifactError, InputError

BLOCK = 1 << 18  # values read at a time: 2 MiB as float64, which the caches hold
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class StoredTensor(NamedTuple):
    """A tensor in a safetensors file: its first byte, type and shape."""

    path: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def pieces(self) -> Iterator[Tensor]:
        """All values in order, one-dimensional, `4 * BLOCK` at a time, in the stored type."""
        size = self.dtype.itemsize
        with open(self.path, "rb", buffering=0) as file:
            for first in range(0, math.prod(self.shape), 4 * BLOCK):
                raw = bytearray(min(4 * BLOCK, math.prod(self.shape) - first) * size)
                _pread(file.fileno(), memoryview(raw), self.offset + first * size, self.path)
                yield torch.frombuffer(raw, dtype=self.dtype)

    def blocks(self, rows: range, *, step: int | None = None) -> Iterator[Tensor]:
        """Adjacent rows of a matrix as float64 [some rows, columns], about `BLOCK` values at a time.

        A block is valid until the next is asked for: one buffer serves all, as new ones leave 150 MB of heap in pieces.
        """
        width = self.shape[1]
        step = min(step or max(1, BLOCK // width), max(1, len(rows)))
        raw = bytearray(step * width * self.dtype.itemsize)
        stored = torch.frombuffer(raw, dtype=self.dtype).view(step, width)
        values = torch.empty(step, width, dtype=torch.float64)
        size = width * self.dtype.itemsize
        file = os.open(self.path, os.O_RDONLY)
        try:
            for first in range(rows.start, rows.stop, step):
                count = min(step, rows.stop - first)
                _pread(file, memoryview(raw)[: count * size], self.offset + first * size, self.path)
                yield values[:count].copy_(stored[:count])
        finally:
            os.close(file)


def weight_files(folder: Path) -> list[Path]:
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            # A path could lead out of the folder, to anybody's files.
            odd = [name for name in names if Path(name).name != name or Path(name).suffix != ".safetensors"]
            if odd or not names:
                raise ValueError(f"it names {odd[0]!r}, no .safetensors file beside it" if odd else "it names no files")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"{index} is damaged ({error}): fetch the checkpoint again") from error
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ArtifactError(f"{folder} lacks {missing[0]}, which its index names: fetch the checkpoint again")
        return [folder / name for name in names]
    if single.is_file():
        return [single]
    raise InputError(f"{folder} has no model.safetensors: save the model in that format (save_pretrained does)")


def read_header(path: Path) -> dict[str, StoredTensor | str]:
    """Tensors by name; the type's name for one that holds no floats."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError(f"its header of {length} bytes is longer than the file")
            entries = json.loads(file.read(length))
        entries.pop("__metadata__", None)
        end = 8 + length + max(entry["data_offsets"][1] for entry in entries.values())
        if path.stat().st_size < end:
            raise ValueError(f"{path.stat().st_size} bytes where its header promises {end}")
        return {name: _stored_tensor(path, 8 + length, name, entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, struct.error) as error:
        raise ArtifactError(f"{path} is damaged or truncated ({error}): fetch the checkpoint again") from error


def _stored_tensor(path: Path, start: int, name: str, entry: dict[str, Any]) -> StoredTensor | str:
    """A header's entry. Raises `ValueError` where its bytes are not those of its shape."""
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        return str(entry["dtype"])
    numbers = [*entry["shape"], *entry["data_offsets"]]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError(f"the place of {name} is no whole numbers")
    *shape, first, end = numbers
    if end - first != math.prod(shape) * dtype.itemsize:
        size = " x ".join(map(str, shape))
        raise ValueError(f"{name} has {end - first} bytes, which are not {size} of {entry['dtype']}")
    return StoredTensor(path, start + first, dtype, tuple(shape))


def _pread(file: int, view: memoryview, offset: int, path: Path) -> None:
    while view:
        count = os.preadv(file, [view], offset)
        if count == 0:
            raise ArtifactError(f"{path} is truncated: no data at byte {offset}; fetch the checkpoint again")
        view, offset = view[count:], offset + count
