"""Numbers of a text, and whether two of them are the same but for rounding."""

import math
import re
from collections.abc import Sequence

from hneurons.answers.judges.normalize import Token

_VALUE = re.compile(r"(-?\d+(?:\.\d+)?)(st|nd|rd|th|[a-z]{1,7}|%)?")
_MAX_DIGITS = 20
_SCALE = {"k": 1e3, "m": 1e6, "bn": 1e9, "million": 1e6, "billion": 1e9}


def read_numbers(tokens: Sequence[Token]) -> list[float]:
    """The numbers of a text in order: digits, spelled numbers, ordinals, "50m" and "2.2bn"."""
    found = []
    for n, token in enumerate(tokens):
        written = (token.text[:1].isdigit() or token.text[:1] == "-") and len(token.text) <= _MAX_DIGITS
        match = _VALUE.fullmatch(token.text) if written else None
        if match is None:
            continue
        value = float(match.group(1))
        scale = _SCALE.get(match.group(2) or "")
        if scale is None and match.group(2) is None and n + 1 < len(tokens) and tokens[n + 1].text in _SCALE:
            scale = _SCALE[tokens[n + 1].text] if len(tokens[n + 1].text) > 1 else None
        found.append(value * (scale or 1))
    return found


def is_rounded(one: float, other: float) -> bool:
    """Whether one number is the other rounded to at least two significant digits; never for years and small counts."""
    one, other = float(one), float(other)
    if one == other:
        return True
    if min(abs(one), abs(other)) < 100 and (one.is_integer() or other.is_integer()):
        return False
    if 1000 <= one <= 2100 and 1000 <= other <= 2100 and one.is_integer() and other.is_integer():
        return False
    return any(_rounds_to(a, b) for a, b in ((one, other), (other, one)))


def _rounds_to(exact: float, rounded: float) -> bool:
    if not exact or not rounded:
        return False
    digits = f"{abs(rounded):.10g}".replace(".", "").strip("0")
    significant = max(2, len(digits))
    shift = significant - 1 - math.floor(math.log10(abs(exact)))
    return round(exact, shift) == rounded
