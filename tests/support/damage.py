"""Flip single bits of stored files: what is read must be refused, or be what it was."""

import json
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


def check_json(folder: Path) -> int:
    """Every JSON document below a folder is one by the standard, without NaN; how many files there are."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    paths = [path for path in folder.rglob("*") if path.suffix in (".json", ".jsonl")]
    for path in paths:
        data = path.read_bytes()
        for text in data.splitlines() if path.suffix == ".jsonl" else [data]:
            json.loads(text, parse_constant=refuse)
    return len(paths)
