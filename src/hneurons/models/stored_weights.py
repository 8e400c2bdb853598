"""Feed-forward weights of a checkpoint on disk: found by structure, read block by block, never held whole.

The model is built without weights to learn which parameters are the up-, gate- and down-projections; the safetensors
headers say where their bytes are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from hneurons.core.errors import ArtifactError, HNeuronsError, InputError, UnsupportedModelError
from hneurons.core.files import file_hash
from hneurons.core.seeds import fingerprint
from hneurons.core.types import ModelIdentity
from hneurons.models.checkpoints import check_sizes, load_checkpoint, resolve_checkpoint
from hneurons.models.ffn import FFN, find_ffns, linear_shape, text_decoder
from hneurons.models.identity import (
    build_identity,
    decoder_tensors,
    digest_down_projections,
    digest_tensors,
    identify_weights,
)
from hneurons.models.safetensors_files import StoredTensor, read_header, weight_files

_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.tiktoken"]  # weights, tokenizer, chat template
_OTHER_TOWERS = ("vision", "visual", "image", "audio", "speech")


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
    tensors: dict[str, StoredTensor | str] = field(repr=False, compare=False)  # by name in the files
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

    def weights_digest(self, through: torch.dtype | None = None) -> str:
        """What `ModelIdentity.weights` is for this checkpoint, loaded in whatever type.

        With `through`, of the weights after rounding to that type.
        """
        tensors = self._decoder_tensors()
        if tensors is None:
            return self._loaded_digest(through or torch.bfloat16)
        pieces = {name: _rounded(tensor.pieces(), through) for name, tensor in tensors.items()}
        sums = (_bit_sums(ffn.down, through) for ffn in self.layers)
        return f"{digest_down_projections(sums)}-{digest_tensors(pieces)}"

    def _decoder_tensors(self) -> dict[str, StoredTensor] | None:
        """Where the tensors of `decoder_tensors` lie; None where transformers makes some of them out of others."""
        down = f"{find_ffns(self.skeleton)[0].name}.weight"
        key = next(key for key, tensor in self.tensors.items() if tensor == self.layers[0].down.tensor)
        prefix, found = key.removesuffix(down), {}
        embedding, head = self.skeleton.get_input_embeddings(), self.skeleton.get_output_embeddings()
        for name, wanted in decoder_tensors(self.skeleton).items():
            keys = [f"{prefix}{name}"]
            if name.startswith("head.") or (head is not None and wanted is embedding.weight is head.weight):
                end = name.removeprefix("head.") if name.startswith("head.") else "weight"
                keys += [k for k in self.tensors if k.endswith((f"lm_head.{end}", f"embed_out.{end}"))]
            tensor = next((self.tensors[key] for key in keys if key in self.tensors), None)
            if not isinstance(tensor, StoredTensor) or tensor.shape != tuple(wanted.shape):
                return None
            found[name] = tensor
        return found

    def _loaded_digest(self, dtype: torch.dtype) -> str:
        model, _, _ = load_checkpoint(self.name, dtype=str(dtype).removeprefix("torch."), device="cpu")
        return identify_weights(model, find_ffns(model))


def _rounded(pieces: Iterator[Tensor], dtype: torch.dtype | None) -> Iterator[Tensor]:
    return (piece.to(dtype) if dtype else piece for piece in pieces)


def _bit_sums(down: Projection, dtype: torch.dtype | None) -> Tensor:
    """What `digest_down_projections` reads of one layer, int64 [hidden size]."""
    across = 1 if down.by == "column" else 0
    sums = [
        block.bfloat16().view(torch.int16).sum(across, dtype=torch.int64)
        for block in _rounded(down.tensor.blocks(down.rows), dtype)
    ]
    return torch.cat(sums) if across else torch.stack(sums).sum(dim=0)


def open_stored(model: str) -> StoredModel:
    """The feed-forward layers of a checkpoint named as `load_model` takes it, without reading weights.

    Raises:

    - `InputError` where there are no float safetensors or no config of a model.
    - `UnsupportedModelError` for what is no decoder or has layers without a single dense FFN.
    - `ArtifactError` for weights that are damaged or incomplete.
    """
    folder = _folder(model)
    files = weight_files(folder)
    headers = {name: tensor for path in files for name, tensor in read_header(path).items()}
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
        model, config.model_type, tuple(layers), ffns[0].neurons, ffns[0].hidden_size, tuple(files), headers, skeleton
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


def _skeleton(folder: Path) -> tuple[Any, list[FFN]]:
    """The model without weights, as transformers builds it from its config, and its FFNs."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    )

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        check_sizes(config, str(folder))
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
        if (shape := linear_shape(module)) is not None and not any("att" in part for part in name.split("."))
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
