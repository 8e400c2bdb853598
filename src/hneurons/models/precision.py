"""The number type a model is loaded in, where nobody asked for one."""

import os
from typing import Literal

import torch

from hneurons.core.errors import InputError

DType = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES = ("auto", "float32", "bfloat16", "float16")
VARIABLE = "HNEURONS_DTYPE"
"""Names the number type that `auto` stands for, in place of what the hardware is good at."""


def choose_dtype(asked: str, device: str | None = None) -> str:
    """The number type that `asked` stands for: itself, or for "auto" what the environment or the hardware says.

    "auto" is bfloat16 on a GPU that has it and on a processor with products of its own for it (AMX or AVX512-BF16),
    and float32 elsewhere. On such processors bfloat16 was measured 1.6 to 2.9 times as fast (`bench/precision.py`).

    Raises `InputError` for a type that is not known.
    """
    named = os.environ.get(VARIABLE, "auto") if asked == "auto" else asked
    if named not in DTYPES:
        raise InputError(f"unknown dtype '{named}': known are {', '.join(DTYPES)}")
    if named != "auto":
        return named
    return "bfloat16" if _multiplies_bfloat16(device) else "float32"


def choose_device(asked: str | None) -> str:
    """The device asked for, by default a GPU where there is one."""
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def _multiplies_bfloat16(device: str | None) -> bool:
    place = choose_device(device)
    if place.startswith("cuda"):
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return place == "cpu" and any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))
