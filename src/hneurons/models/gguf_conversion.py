"""A GGUF file as a folder that transformers loads: dequantised tensor by tensor into one safetensors file.

Names, shapes and permutations are those of transformers' own GGUF reader. It holds the whole model in memory, in
float32 first; this holds a few tensors.
"""

import json
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from hneurons.core.errors import InputError
from hneurons.core.progress import progress

T = TypeVar("T")
_CODES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_CHUNK = 1 << 22  # values dequantised at a time: the reader's intermediate arrays are several times as large
_WORKERS = 2


def convert_gguf(gguf: Path, folder: Path, dtype: torch.dtype) -> None:
    """Write config, tokenizer and weights of `gguf` into the existing `folder`, the weights as `dtype`.

    Raises `InputError` where tensors are missing or have another shape than their architecture's. A damaged file may
    make the reader raise anything else.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
        load_gguf_checkpoint,
        read_field,
    )

    parsed = load_gguf_checkpoint(str(gguf))
    config = AutoConfig.for_model(**parsed["config"])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    reader = open_gguf(gguf)
    architecture = read_field(reader, "general.architecture")[0]
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=parsed["config"])
    names: dict[str, str] = get_gguf_hf_weights_map(model, processor)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or {}) if config.tie_word_embeddings else set()

    def convert(stored: Any) -> tuple[str, Tensor] | None:
        result = processor.process(
            weights=_dequantise(stored), name=stored.name, tensor_key_mapping=names, parsed_parameters=parsed
        )
        if result.name not in names:
            return None
        name = names[result.name]
        if tuple(result.weights.shape) != shapes[name]:
            raise InputError(f"{gguf}: {name} is {list(result.weights.shape)}, expected {list(shapes[name])}")
        return name, torch.from_numpy(np.ascontiguousarray(result.weights)).to(dtype)

    file = _SafetensorsFile(folder / "model.safetensors", [*shapes])
    with file, progress("convert", len(reader.tensors)) as advance:
        for found in _in_order(convert, reader.tensors):
            if found is not None and found[0] not in tied:
                file.add(*found)
            advance(1)
    missing = sorted(set(shapes) - set(file.header) - tied)
    if missing:
        raise InputError(f"{gguf} lacks {len(missing)} tensors of its architecture, such as {missing[0]}")
    config.dtype, config.architectures = dtype, [type(model).__name__]
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(folder)


def open_gguf(path: Path) -> Any:
    """A `gguf.GGUFReader` in a third of the time. Raises whatever the reader raises where the file is damaged.

    It cuts every string of a vocabulary out of the mapped file, and the slices of a plain array cost far less than
    those of a `memmap`.
    """
    from gguf import GGUFReader

    class Reader(GGUFReader):  # type: ignore[misc]
        @property
        def data(self) -> np.ndarray[Any, Any]:
            return self._data

        @data.setter
        def data(self, mapped: np.ndarray[Any, Any]) -> None:
            self._data = np.asarray(mapped)

    return Reader(path)


def _dequantise(stored: Any) -> np.ndarray[Any, Any]:
    """One tensor in float32, some rows at a time."""
    from gguf import dequantize

    if stored.data.ndim < 2 or stored.n_elements <= _CHUNK:
        return np.array(dequantize(stored.data, stored.tensor_type), dtype=np.float32)
    shape = tuple(int(size) for size in reversed(stored.shape))
    rows, step = stored.data.reshape(-1, stored.data.shape[-1]), max(1, _CHUNK // shape[-1])
    values = np.empty((len(rows), shape[-1]), dtype=np.float32)
    for first in range(0, len(rows), step):
        values[first : first + step] = dequantize(rows[first : first + step], stored.tensor_type)
    return values.reshape(shape)


def _in_order(work: Callable[[Any], T], items: Sequence[Any]) -> Iterator[T]:
    """Results in the order of the items, a few of them made ahead: NumPy leaves other threads running."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        running: deque[Future[T]] = deque()
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) == _WORKERS:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


class _SafetensorsFile:
    """Tensors written one after the other, the header put in front of them at the end."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.header = path, dict[str, Any]()
        self.room = sum(len(name) + 150 for name in names) // 8 * 8 + 64  # more than the header takes

    def __enter__(self) -> Self:
        self.file = open(self.path, "wb")
        self.file.seek(8 + self.room)
        self.end = 0
        return self

    def add(self, name: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        self.file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        self.header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [self.end, self.end + size],
        }
        self.end += size

    def __exit__(self, *exception: object) -> None:
        with self.file:
            text = json.dumps({"__metadata__": {"format": "pt"}, **self.header}).encode()
            self.file.seek(0)
            self.file.write(struct.pack("<Q", self.room) + text.ljust(self.room))
