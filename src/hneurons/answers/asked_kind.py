"""What kind of thing a question asks for, read off its words."""

import re
from typing import Literal

AskedKind = Literal["who", "when", "where", "many", "why", "which", "what", "other"]
KINDS: tuple[tuple[AskedKind, re.Pattern[str]], ...] = (
    ("who", re.compile(r"\b(?:who|whom|whose)\b|\bname of the (?:actor|actress|singer|author)\b")),
    ("when", re.compile(r"\b(?:when|(?:what|which) (?:year|date|decade|day|month|century)|name the year)\b")),
    ("where", re.compile(
        r"\bwhere\b|\b(?:which|what) (?:\w+ )?(?:city|country|state|county|town|river|island|continent)\b"
    )),
    ("many", re.compile(r"\bhow (?:many|much|long|old|far|tall|big|high|often)\b|\bwhat (?:number|percentage|age)\b")),
    ("why", re.compile(
        r"\b(?:why|how (?:did|do|does|is|was|are|to|can)|purpose|meaning|difference|what happens)\b"
    )),
    ("which", re.compile(r"\bwhich\b")),
    ("what", re.compile(r"\bwhat\b")),
)  # fmt: skip
"""Kinds in the order in which they are tried, each with the words that tell it."""


def asked_kind(question: str) -> AskedKind:
    """The first kind whose words the question has."""
    text = question.casefold()
    return next((kind for kind, pattern in KINDS if pattern.search(text)), "other")
