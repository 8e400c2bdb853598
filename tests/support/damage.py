"""Flip single bits of stored files: what is read must be refused, or be what it was."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hneurons.core.errors import HNeuronsError


def flip_bits(path: Path, count: int, *, seed: int = 0) -> Iterator[int]:
    """Changes one bit of the file after the other, each alone; gives the bit's number, and restores the file."""
    whole = path.read_bytes()
    bits = range(8 * len(whole))
    try:
        for bit in sorted(random.Random(seed).sample(bits, min(count, len(bits)))):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            yield bit
    finally:
        path.write_bytes(whole)


def survivors(folder: Path, read: Callable[[], Any], *, names: list[str], count: int = 150) -> list[str]:
    """Flips that changed what is read without a word, `file:bit`; a refusal is one sentence."""
    expected, found = repr(read()), []
    for name in names:
        for bit in flip_bits(folder / name, count):
            try:
                got = repr(read())
            except HNeuronsError as error:
                assert "\n" not in str(error), error
                continue
            if got != expected:
                found.append(f"{name}:{bit}")
    return found
