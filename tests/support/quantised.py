"""Down-projections in the layouts of the quantisers, each with the float weights it stands for.

The packages that make them are not needed: the attributes, shapes and types are theirs, the arithmetic is plain torch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.integrations.finegrained_fp8 import FP8Linear


class Quantised(NamedTuple):
    module: nn.Module
    weight: Tensor  # float32 [outputs, inputs]


def float8(weight: Tensor, *, block: tuple[int, int] | None, scale_fmt: str = "float") -> Quantised:
    """The block-scaled layer of transformers, whose kernel needs a GPU."""
    hidden, neurons = weight.shape
    module = FP8Linear(neurons, hidden, block, scale_fmt=scale_fmt)
    rows, columns = block or (hidden, neurons)
    values, known = torch.empty_like(module.weight.data), torch.empty_like(weight)
    scales = torch.empty(-(-hidden // rows), -(-neurons // columns))
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = (slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
            scale = weight[part].abs().max() / 448
            scale = 2.0 ** torch.ceil(torch.log2(scale)) if scale_fmt == "ue8m0" else scale
            values[part] = (weight[part] / scale).to(values.dtype)
            known[part], scales[i, j] = values[part].float() * scale, scale
    module.weight.data = values
    module.weight_scale_inv.data = (scales if block else scales.reshape(())).to(module.weight_scale_inv.dtype)
    return Quantised(module, known)


def float8_rows(weight: Tensor) -> Quantised:
    """compressed-tensors and FBGEMM: `weight_scale`, one a row."""
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    scale = weight.abs().amax(1, keepdim=True) / 448
    module.weight = nn.Parameter((weight / scale).to(torch.float8_e4m3fn), requires_grad=False)
    module.weight_scale = nn.Parameter(scale, requires_grad=False)
    return Quantised(module, module.weight.float() * scale)


class Linear8bitLt(nn.Linear):
    """bitsandbytes, LLM.int8: int8 rows with `SCB`, the greatest absolute value of each row."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight.to(x.dtype) * (self.SCB / 127)[:, None].to(x.dtype)  # type: ignore[operator, index]
        return x @ w.t() + (0 if self.bias is None else self.bias)


def int8_rows(weight: Tensor) -> Quantised:
    module = Linear8bitLt(weight.shape[1], weight.shape[0], bias=True)
    most = weight.abs().amax(1)
    module.weight = nn.Parameter((weight / most[:, None] * 127).round().to(torch.int8), requires_grad=False)
    module.SCB = most
    return Quantised(module, module.weight.float() * (most / 127)[:, None])


_NF4 = torch.tensor([-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0,
                     0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0])  # fmt: skip


class Linear4bit(nn.Linear):
    """bitsandbytes, NF4: two values a byte in one long column, one absolute maximum for 64 values."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.dequantised().to(x.dtype)
        return x @ w.t()

    def dequantised(self) -> Tensor:
        packed = self.weight.view(-1)
        codes = torch.stack([packed >> 4, packed & 15], 1).view(-1, 64).long()
        return (_NF4[codes] * self.absmax[:, None]).view(self.out_features, self.in_features)  # type: ignore[index]


def nf4(weight: Tensor) -> Quantised:
    module = Linear4bit(weight.shape[1], weight.shape[0], bias=False)
    blocks = weight.reshape(-1, 64)
    module.absmax = blocks.abs().amax(1)
    codes = (blocks / module.absmax[:, None])[..., None].sub(_NF4).abs().argmin(-1).view(-1, 2).to(torch.uint8)
    module.weight = nn.Parameter(((codes[:, 0] << 4) | codes[:, 1])[:, None], requires_grad=False)
    return Quantised(module, module.dequantised())


class GPTQLinear(nn.Module):
    """AutoGPTQ: no `weight`; eight 4-bit values an int32 along the inputs, scales and zeros a group of inputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.infeatures, self.outfeatures = inputs, outputs

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.dequantised().to(x.dtype)

    def dequantised(self) -> Tensor:
        shifts = torch.arange(0, 32, 4, dtype=torch.int32)
        codes = (self.qweight[:, None, :] >> shifts[None, :, None]) & 15  # type: ignore[index]
        codes = codes.reshape(self.infeatures, self.outfeatures)
        return (codes - 8).float() * self.scales.float()[self.g_idx]  # type: ignore[index, operator]


def gptq(weight: Tensor, *, group: int = 16) -> Quantised:
    hidden, neurons = weight.shape
    module = GPTQLinear(neurons, hidden)
    index = torch.arange(neurons, dtype=torch.int32) // group
    grouped = weight.t().reshape(-1, group, hidden)
    scales = (grouped.abs().amax(1) / 7).half().contiguous()
    codes = (weight.t() / scales.float()[index]).round().clamp(-8, 7).to(torch.int32) + 8
    packed = sum(codes.contiguous().view(-1, 8, hidden)[:, n] << (4 * n) for n in range(8))
    for name, buffer in {"qweight": packed, "scales": scales, "g_idx": index}.items():
        module.register_buffer(name, buffer)
    return Quantised(module, module.dequantised().t())


def compressed(weight: Tensor) -> Quantised:
    """compressed-tensors, 4 bits: an nn.Linear whose `forward` is replaced on the module itself."""
    module: Any = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    del module.weight
    scale = weight.abs().amax(1, keepdim=True) / 7
    codes = (weight / scale).round().clamp(-8, 7)
    packed = ((codes[:, ::2].to(torch.uint8) & 15) << 4) | (codes[:, 1::2].to(torch.uint8) & 15)
    module.weight_packed = nn.Parameter(packed, requires_grad=False)
    module.weight_scale = nn.Parameter(scale, requires_grad=False)

    def forward(x: Tensor) -> Tensor:
        both = torch.stack([packed >> 4, packed & 15], 2).view(weight.shape).to(torch.int32)
        return x @ ((both - 16 * (both > 7)) * scale).to(x.dtype).t()

    module.forward = forward
    return Quantised(module, codes * scale)


class LoraLinear(nn.Module):
    """peft: an adapter around the layer it changes, which tells its sizes too."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.lora_A, self.lora_B = (
            nn.Linear(self.in_features, 4, bias=False),
            nn.Linear(4, self.out_features, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_B(self.lora_A(x))


def adapted(weight: Tensor) -> Quantised:
    base = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    base.weight = nn.Parameter(weight.clone())
    module = LoraLinear(base)
    return Quantised(module, (weight + module.lora_B.weight @ module.lora_A.weight).detach())


KINDS: dict[str, Callable[[Tensor], Quantised]] = {
    "float8 blocks": lambda w: float8(w, block=(16, 16)),
    "float8 blocks that do not divide": lambda w: float8(w, block=(20, 32)),
    "float8 with power-of-two scales": lambda w: float8(w, block=(16, 16), scale_fmt="ue8m0"),
    "float8, one scale": lambda w: float8(w, block=None),
    "float8 rows": float8_rows,
    "bitsandbytes int8": int8_rows,
    "bitsandbytes nf4": nf4,
    "gptq": gptq,
    "compressed-tensors": compressed,
    "an adapter": adapted,
}
