"""Local randomness: a seed from the identity of the item, so that order and resumption change nothing."""

import hashlib
import json
from typing import Any


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from any identifying parts, the same on every machine and Python version."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def fingerprint(value: Any) -> str:
    """16 hex digits that identify a JSON-serialisable value by content."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
