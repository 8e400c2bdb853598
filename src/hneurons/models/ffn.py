"""Find the one feed-forward network of each decoder layer, by structure rather than by a list of names."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hneurons.core.errors import UnsupportedModelError
from hneurons.models.dequantising import down_columns

_DOWN_NAMES = ("down_proj", "fc2", "c_proj", "dense_4h_to_h", "fc_out", "w2", "wo")
_SIZE_NAMES = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "intermediate_dim")
_EXPERT_NAMES = ("expert", "router", "moe")


@dataclass(frozen=True, slots=True)
class FFN:
    """The down-projection of one decoder layer: input z of width `neurons`, output h of width `hidden_size`."""

    layer: int
    name: str
    down: nn.Module
    neurons: int
    hidden_size: int

    @property
    def device(self) -> torch.device:
        held = (*self.down.parameters(), *self.down.buffers())
        return held[0].device if held else torch.device("cpu")

    @property
    def columns(self) -> Tensor:
        """W_down as [hidden_size, neurons], whichever way the module stores it: a view of plain weights.

        Quantised weights are dequantised, to float32 or the type the module answers in. Raises `UnsupportedModelError`
        where they cannot be.
        """
        return down_columns(self.down, self.name, self.neurons, self.hidden_size)

    def column_norms(self) -> Tensor:
        """||W_down[:, j]||_2 as float32 [neurons]."""
        norms: Tensor = torch.linalg.vector_norm(self.columns.float(), dim=0)
        return norms


def text_decoder(model: PreTrainedModel) -> nn.Module:
    """The text decoder inside any shell: what holds the decoder layers, without LM head or vision tower."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    return getattr(decoder, "language_model", decoder)  # type: ignore[no-any-return]


def find_ffns(model: PreTrainedModel) -> list[FFN]:
    """One dense FFN per decoder layer, shapes checked against the config.

    Raises `UnsupportedModelError` naming the module for mixture-of-experts layers and for layers in which no, or no
    single, down-projection is found.
    """
    config = model.config.get_text_config(decoder=True)
    layers = enumerate(_decoder_layers(text_decoder(model), config))
    try:
        return [_find_ffn(i, name, layer, config) for i, (name, layer) in layers]
    except UnsupportedModelError as error:
        quantised = getattr(getattr(model.config, "quantization_config", None), "quant_method", None)
        if quantised is None:
            raise
        method = getattr(quantised, "value", quantised)
        raise UnsupportedModelError(f"{error}; its weights are quantised by {method}: load it unquantised") from error


def _decoder_layers(decoder: nn.Module, config: object) -> list[tuple[str, nn.Module]]:
    count: int = config.num_hidden_layers  # type: ignore[attr-defined]
    found = [
        (name, module)
        for name, module in decoder.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == count
        and all(any("att" in child for child, _ in layer.named_children()) for layer in module)
    ]
    if len(found) != 1:
        raise UnsupportedModelError(
            f"expected one list of {count} decoder layers with attention inside {type(decoder).__name__}, "
            f"found {len(found)} ({', '.join(name for name, _ in found) or 'none'}): this architecture is not supported"
        )
    prefix, layers = found[0]
    return [(f"{prefix}.{i}", layer) for i, layer in enumerate(layers)]


def _find_ffn(index: int, layer_name: str, layer: nn.Module, config: object) -> FFN:
    hidden: int = config.hidden_size  # type: ignore[attr-defined]
    candidates: dict[str, tuple[nn.Module, int]] = {}
    for name, module in layer.named_modules():
        parts = name.split(".")
        if any("att" in part for part in parts):
            continue
        if any(word in parts[-1] for word in _EXPERT_NAMES):
            raise UnsupportedModelError(
                f"{layer_name}.{name} ({type(module).__name__}) is part of a mixture of experts: a neuron there has no "
                "single contribution per token; hneurons reads dense FFNs only, choose a dense model"
            )
        shape = linear_shape(module)
        inside = any(name.startswith(f"{outer}.") for outer in candidates)  # what an adapter wraps
        if shape is not None and shape[1] == hidden and not inside:
            candidates[name] = (module, shape[0])
    wanted = next((size for size in (getattr(config, n, None) for n in _SIZE_NAMES) if isinstance(size, int)), None)
    if wanted is None and hasattr(config, "n_inner"):
        wanted = 4 * hidden
    if wanted is not None:
        candidates = {name: found for name, found in candidates.items() if found[1] == wanted}
    if len(candidates) > 1:
        candidates = {name: c for name, c in candidates.items() if name.split(".")[-1] in _DOWN_NAMES}
    if len(candidates) != 1:
        raise UnsupportedModelError(
            f"expected one down-projection [{wanted or '?'} -> {hidden}] in {layer_name} ({type(layer).__name__}), "
            f"found {len(candidates)} ({', '.join(candidates) or 'none'}): this architecture is not supported"
        )
    name, (module, neurons) = next(iter(candidates.items()))
    return FFN(index, f"{layer_name}.{name}", module, neurons, hidden)


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of a linear map, quantised or wrapped by an adapter; None for anything else."""
    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    if not (module._parameters or module._buffers or hasattr(module, "base_layer")):
        return None  # a container that tells its sizes
    for names in (("in_features", "out_features"), ("infeatures", "outfeatures")):
        inputs, outputs = (getattr(module, name, None) for name in names)
        if isinstance(inputs, int) and isinstance(outputs, int):
            return inputs, outputs
    return None
