"""Feed-forward weights of a checkpoint on disk: found by structure, read block by block, never held whole.

The model is built without weights to learn which parameters are the up-, gate- and down-projections; the safetensors
headers say where their bytes are. They are read with pread: mapping a file would let resident memory grow to its size.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from hneurons.core.artifacts import file_hash
from hneurons.core.errors import ArtifactError, HNeuronsError, InputError, UnsupportedModelError
from hneurons.core.seeds import fingerprint
from hneurons.core.types import ModelIdentity
from hneurons.models.checkpoints import resolve_checkpoint
from hneurons.models.ffn import FFN, _linear_shape, find_ffns, text_decoder
from hneurons.models.identity import build_identity

BLOCK = 1 << 18  # values read at a time: 2 MiB as float64, which the caches hold
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.tiktoken"]  # weights, tokenizer, chat template
_OTHER_TOWERS = ("vision", "visual", "image", "audio", "speech")


class StoredTensor(NamedTuple):
    """A two-dimensional tensor in a safetensors file: its first byte, type and shape."""

    path: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, int]

    def blocks(self, rows: range, *, step: int | None = None) -> Iterator[Tensor]:
        """Adjacent rows as float64 [some rows, columns], about `BLOCK` values at a time.

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


class Projection(NamedTuple):
    """One weight vector a neuron: the rows `rows` of a tensor, or its columns."""

    tensor: StoredTensor
    by: Literal["row", "column"]
    rows: range


class StoredFFN(NamedTuple):
    """The projections of one layer; `gate` is None where the network has none."""

    up: Projection
    down: Projection
    gate: Projection | None


@dataclass(frozen=True)
class StoredModel:
    """A checkpoint's feed-forward layers on disk."""

    name: str
    architecture: str
    layers: tuple[StoredFFN, ...]
    neurons: int
    hidden_size: int
    files: tuple[Path, ...]
    skeleton: Any = field(repr=False, compare=False)  # the transformers model on the meta device

    @property
    def dtype(self) -> str:
        """Storage type of the weights, several with commas where they differ."""
        used = {str(part.tensor.dtype).removeprefix("torch.") for ffn in self.layers for part in ffn if part}
        return ", ".join(sorted(used))

    def content(self) -> str:
        """16 hex digits of all weight files."""
        return fingerprint([file_hash(path) for path in self.files])

    def differences(self, other: "StoredModel") -> list[str]:
        """What keeps neuron (layer, index) here from being the same neuron in `other`, as readable text."""
        pairs = [
            ("architecture", self.architecture, other.architecture),
            ("layers", len(self.layers), len(other.layers)),
            ("neurons a layer", self.neurons, other.neurons),
            ("hidden size", self.hidden_size, other.hidden_size),
            ("gate", *("yes" if model.layers[0].gate else "no" for model in (self, other))),
        ]
        return [f"{name}: {mine} against {theirs}" for name, mine, theirs in pairs if mine != theirs]

    @property
    def folder(self) -> Path:
        """Where config, tokenizer and weights are."""
        return self.files[0].parent

    def module_names(self) -> list[str]:
        """The full name of each layer's down-projection in the transformers model."""
        names = {id(module): name for name, module in self.skeleton.named_modules()}
        return [names[id(ffn.down)] for ffn in find_ffns(self.skeleton)]

    def identity(self) -> ModelIdentity:
        """As `LanguageModel.identity`, without loading the model."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(str(self.folder), trust_remote_code=False)
        except Exception as error:  # damaged files fail wherever their values happen to lead the reader
            raise InputError(
                f"could not read the tokenizer in {self.folder} ({_reason(error)}): fetch or save the checkpoint again"
            ) from error
        ffns = find_ffns(self.skeleton)
        return build_identity(self.name, self.skeleton.config, ffns, self.weights_digest(), tokenizer)

    def weights_digest(self) -> str:
        """What `ModelIdentity.weights` is for this checkpoint, loaded in whatever type."""
        digest = hashlib.blake2b(digest_size=8)
        for ffn in self.layers:
            across = 1 if ffn.down.by == "column" else 0
            sums = [
                block.bfloat16().view(torch.int16).sum(across, dtype=torch.int64)
                for block in ffn.down.tensor.blocks(ffn.down.rows)
            ]
            total = torch.cat(sums) if across else torch.stack(sums).sum(dim=0)
            digest.update(total.numpy().tobytes())
        return digest.hexdigest()


def open_stored(model: str) -> StoredModel:
    """The feed-forward layers of a checkpoint named as `load_model` takes it, without reading weights.

    Raises `InputError` where there are no float safetensors or no config of a model, `UnsupportedModelError` for what
    is no decoder or has layers without a single dense FFN, `ArtifactError` for weights that are damaged or incomplete.
    """
    folder = _folder(model)
    files = _weight_files(folder)
    headers = {name: tensor for path in files for name, tensor in _read_header(path).items()}
    skeleton, ffns = _skeleton(folder)
    decoder, layers = text_decoder(skeleton), []
    for ffn in ffns:
        up, gate, fused = _entrances(decoder, ffn.name, ffn.neurons, ffn.hidden_size)
        find = _Finder(headers, model)
        layers.append(
            StoredFFN(
                up=find(up, decoder, entrance=True, half=1 if fused else None),
                down=find(ffn.name, decoder, entrance=False),
                gate=find(gate, decoder, entrance=True, half=0 if fused else None) if gate else None,
            )
        )
    config = skeleton.config.get_text_config(decoder=True)
    return StoredModel(
        model, config.model_type, tuple(layers), ffns[0].neurons, ffns[0].hidden_size, tuple(files), skeleton
    )


def _folder(model: str) -> Path:
    source = resolve_checkpoint(model)
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=_FILES, ignore_patterns="consolidated*"))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"could not find the files of '{model}': {reason}; give a local folder") from error


def _weight_files(folder: Path) -> list[Path]:
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


def _read_header(path: Path) -> dict[str, StoredTensor | str]:
    """Two-dimensional tensors by name; the type's name for one that holds no floats."""
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
        matrices = {name: entry for name, entry in entries.items() if len(entry["shape"]) == 2}
        return {name: _stored_tensor(path, 8 + length, name, entry) for name, entry in matrices.items()}
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
    rows, columns, first, end = numbers
    if end - first != rows * columns * dtype.itemsize:
        raise ValueError(f"{name} has {end - first} bytes, which are not {rows} x {columns} of {entry['dtype']}")
    return StoredTensor(path, start + first, dtype, (rows, columns))


def _skeleton(folder: Path) -> tuple[Any, list[FFN]]:
    """The model without weights, as transformers builds it from its config, and its FFNs."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
        if not causal and type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise UnsupportedModelError(f"{folder} holds a {config.model_type}, which is no decoder: choose a decoder")
        with torch.device("meta"):
            skeleton = (AutoModelForCausalLM if causal else AutoModelForImageTextToText).from_config(config)
        ffns = find_ffns(skeleton)
        if not ffns:
            raise ValueError("a model without layers")
    except HNeuronsError:
        raise
    except Exception as error:  # a damaged config fails wherever its values happen to lead transformers
        raise InputError(
            f"{folder / 'config.json'} describes no model that transformers can build ({_reason(error)}): fetch or "
            "save the checkpoint again"
        ) from error
    return skeleton, ffns


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _entrances(decoder: nn.Module, down: str, neurons: int, hidden: int) -> tuple[str, str | None, bool]:
    """(up-projection, gate-projection or None, whether both are one tensor) of the network that `down` ends."""
    parent = down.rpartition(".")[0]
    shapes = {
        f"{parent}.{name}": shape
        for name, module in decoder.get_submodule(parent).named_modules()
        if (shape := _linear_shape(module)) is not None and not any("att" in part for part in name.split("."))
    }
    fused = [name for name, shape in shapes.items() if shape == (hidden, 2 * neurons)]
    single = [name for name, shape in shapes.items() if shape == (hidden, neurons) and name != down]
    if len(fused) == 1 and not single:
        return fused[0], fused[0], True  # gate first, then up, as transformers splits it
    gates = [name for name in single if "gate" in name.rpartition(".")[2] or name.endswith(".w1")]
    ups = [name for name in single if name not in gates]
    if len(ups) == 1 and len(gates) <= 1 and not fused:
        return ups[0], gates[0] if gates else None, False
    raise UnsupportedModelError(
        f"expected one up-projection [{hidden} -> {neurons}] and at most one gate beside {down}, found "
        f"{', '.join([*single, *fused]) or 'none'}: this architecture is not supported"
    )


class _Finder:
    """Finds a module's weight among the stored tensors, whatever prefix the checkpoint gives its names."""

    def __init__(self, headers: dict[str, StoredTensor | str], model: str) -> None:
        self.headers, self.model = headers, model

    def __call__(self, name: str, decoder: nn.Module, *, entrance: bool, half: int | None = None) -> Projection:
        wanted: tuple[int, ...] = tuple(decoder.get_submodule(name).weight.shape)  # type: ignore[arg-type]
        weight = f"{name}.weight"
        keys = [key for key in self.headers if key == weight or key.endswith(f".{weight}")]
        keys = [key for key in keys if not any(word in key for word in _OTHER_TOWERS)]
        packed = [self.headers[key] for key in keys if isinstance(self.headers[key], str)]
        if packed:
            raise InputError(
                f"'{self.model}' stores {keys[0]} as {packed[0]}: expected float weights, "
                "give one that is not quantised"
            )
        found = [tensor for key in keys if isinstance(tensor := self.headers[key], StoredTensor)]
        if len(found) != 1 or found[0].shape != wanted:
            shapes = ", ".join(str(list(tensor.shape)) for tensor in found) or "none"
            raise ArtifactError(
                f"'{self.model}' should store one {weight} {list(wanted)}, found {shapes}: its weights do not "
                "belong to its config"
            )
        # Linear stores [outputs, inputs], Conv1D the transpose.
        rows_are_neurons = isinstance(decoder.get_submodule(name), nn.Linear) == entrance
        if half is None:
            return Projection(found[0], "row" if rows_are_neurons else "column", range(wanted[0]))
        if not rows_are_neurons:
            raise UnsupportedModelError(f"{name} joins gate and up in columns: this architecture is not supported")
        width = wanted[0] // 2
        return Projection(found[0], "row", range(half * width, (half + 1) * width))


def _pread(file: int, view: memoryview, offset: int, path: Path) -> None:
    while view:
        count = os.preadv(file, [view], offset)
        if count == 0:
            raise ArtifactError(f"{path} is truncated: no data at byte {offset}; fetch the checkpoint again")
        view, offset = view[count:], offset + count
