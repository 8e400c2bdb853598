"""What a down-projection multiplies by, whether its weights are plain or packed by a quantiser."""

from typing import cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hneurons.core.errors import UnsupportedModelError

_PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_UNITS = 512  # unit vectors put in at a time


def down_columns(down: nn.Module, name: str, neurons: int, hidden: int) -> Tensor:
    """W_down as [hidden, neurons]: the plain weights, or what the module makes of unit vectors.

    Scales of 8-bit floats are multiplied out, as their own kernels run on few devices. Raises `UnsupportedModelError`
    naming the module where neither is possible.
    """
    if is_plain(down):
        plain = cast(Tensor, down.weight).detach()
        return plain.t() if isinstance(down, Conv1D) else plain
    try:
        weight = getattr(down, "weight", None)
        if isinstance(weight, Tensor) and weight.dtype in _FLOAT8 and weight.shape == (hidden, neurons):
            return _scale_float8(down, weight.detach())
        columns = _answers_to_units(down, neurons)
        if columns.shape != (hidden, neurons) or not bool(torch.isfinite(columns).all()):
            raise ValueError(f"its answers are {list(columns.shape)}, or not finite")
    except Exception as error:  # kernels of many libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnsupportedModelError(
            f"the weights of {name} ({type(down).__module__}.{type(down).__name__}) are quantised and cannot be "
            f"dequantised here ({reason}): load the model unquantised, or on a device its quantiser supports"
        ) from error
    return columns


def is_plain(module: nn.Module) -> bool:
    """Whether a module computes with its float `weight` and nothing else."""
    weight = getattr(module, "weight", None)
    return (
        type(module).forward in (nn.Linear.forward, Conv1D.forward)
        and "forward" not in vars(module)
        and isinstance(weight, Tensor)
        and type(weight.data) is Tensor
        and weight.dtype in _PLAIN
        and not weight.is_meta
    )


def _scale_float8(down: nn.Module, weight: Tensor) -> Tensor:
    """8-bit floats times their scale: one for all, one a row, or one a block of the matrix; float32."""
    named = (getattr(down, name, None) for name in ("weight_scale_inv", "weight_scale"))
    scales = [scale.detach().float() for scale in named if isinstance(scale, Tensor)]
    if len(scales) != 1:
        raise ValueError("8-bit floats without one tensor of scales")
    (scale,) = scales
    if scale.numel() == 1:
        return weight.float() * scale.reshape(())
    scale = scale[:, None] if scale.ndim == 1 else scale
    block = getattr(down, "block_size", None) or [-(-a // b) for a, b in zip(weight.shape, scale.shape, strict=True)]
    if [-(-a // b) for a, b in zip(weight.shape, block, strict=True)] != list(scale.shape):
        raise ValueError(f"scales of {list(scale.shape)} for weights of {list(weight.shape)}")
    rows = scale.repeat_interleave(block[0], 0)[: weight.shape[0]]
    return weight.float() * rows.repeat_interleave(block[1], 1)[:, : weight.shape[1]]


@torch.no_grad()
def _answers_to_units(down: nn.Module, neurons: int) -> Tensor:
    """`forward`, not a call: hooks that measure or steer must see nothing of this."""
    held = (*down.parameters(), *down.buffers())
    device = held[0].device if held else torch.device("cpu")
    dtype = next((t.dtype for t in held if t.dtype in _PLAIN), torch.float32)
    rest = down.forward(torch.zeros(1, 1, neurons, dtype=dtype, device=device))
    parts = []
    for first in range(0, neurons, _UNITS):
        units = torch.eye(neurons, dtype=dtype, device=device)[None, first : first + _UNITS]
        parts.append((down.forward(units) - rest)[0].float().cpu())
    return torch.cat(parts).t()
