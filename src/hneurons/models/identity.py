"""Who a model is, whether its weights are loaded or lie on disk."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hneurons.core.seeds import fingerprint
from hneurons.core.types import ModelIdentity
from hneurons.models.checkpoints import tokenizer_hash
from hneurons.models.ffn import FFN, text_decoder

PIECE = 1 << 22  # values hashed at a time
_ONE_THREAD = 1 << 24  # weights up to which a model is hashed without threads
_UNSTABLE = ("transformers_version", "dtype", "torch_dtype", "use_cache", "name_or_path")


def build_identity(name: str, config: Any, ffns: Sequence[FFN], weights: str, tokenizer: Any) -> ModelIdentity:
    """The identity of the model with this transformers config; `weights` is what `identify_weights` gives.

    A local model is named by its folder or file alone, so that it may move.
    """
    text = config.get_text_config(decoder=True).to_dict()
    shape_only = {k: v for k, v in text.items() if isinstance(v, int | float | str) and not k.startswith("_")}
    return ModelIdentity(
        name=Path(name).name if Path(name).expanduser().exists() else name,
        architecture=str(text["model_type"]),
        layers=len(ffns),
        neurons=ffns[0].neurons,
        hidden_size=ffns[0].hidden_size,
        config=fingerprint({k: v for k, v in shape_only.items() if k not in _UNSTABLE}),
        tokenizer=tokenizer_hash(tokenizer),
        weights=weights,
    )


def identify_weights(model: PreTrainedModel, ffns: Sequence[FFN]) -> str:
    """`ModelIdentity.weights` of a loaded model: `digest_down_projections`, a hyphen, `digest_tensors`."""
    pieces = {name: torch.split(tensor.detach().flatten(), PIECE) for name, tensor in decoder_tensors(model).items()}
    sums = (ffn.columns.to(torch.bfloat16).view(torch.int16).sum(-1, dtype=torch.int64) for ffn in ffns)
    # Threads cost more than they save on a small model, and torch refuses new ones in a forked process.
    many = sum(piece.numel() for parts in pieces.values() for piece in parts) > _ONE_THREAD
    return f"{digest_down_projections(sums)}-{digest_tensors(pieces, threads=many)}"


def decoder_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Every weight of the text decoder by its name there, and of an output head of its own, each tensor once."""
    head = model.get_output_embeddings() or nn.Module()
    found = {**text_decoder(model).state_dict(keep_vars=True), **head.state_dict(prefix="head.", keep_vars=True)}
    names = {id(tensor): name for name, tensor in reversed(found.items()) if isinstance(tensor, Tensor)}
    return {name: tensor for name, tensor in found.items() if names.get(id(tensor)) == name}


def digest_tensors(tensors: Mapping[str, Iterable[Tensor]], *, threads: bool = True) -> str:
    """16 hex digits of every value of the named tensors, given as one-dimensional pieces, and of their order.

    Floats are rounded to bfloat16, so that float32 and bfloat16 copies of a checkpoint are one model.
    """
    if not threads:
        return fingerprint({name: _digest_tensor(pieces) for name, pieces in tensors.items()})
    with ThreadPoolExecutor() as pool:
        return fingerprint(dict(zip(tensors, pool.map(_digest_tensor, tensors.values()), strict=True)))


def _digest_tensor(pieces: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()  # twice as fast as BLAKE2b where the processor knows it
    for piece in pieces:
        rounded = piece.to(torch.bfloat16) if piece.is_floating_point() else piece
        digest.update(rounded.contiguous().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def digest_down_projections(sums: Iterable[Tensor]) -> str:
    """All that identities of earlier versions knew of the weights.

    `sums`, int64 [hidden size] a layer: the bits of W_down, rounded to bfloat16, added up over the neurons.
    """
    digest = hashlib.blake2b(digest_size=8)
    for layer in sums:
        digest.update(layer.cpu().numpy().tobytes())
    return digest.hexdigest()
