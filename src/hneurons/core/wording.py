"""How numbers are said, in one place: estimates with their intervals, counts, lists."""

import difflib
import math
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hneurons.core.stats import Estimate

UNKNOWN = "–"
_NO_WIDTH = 1e-12
_TURNS = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}  # change the direction of writing


def number(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """A number with so many decimals, never "-0.000"; a dash where it is unknown."""
    if not math.isfinite(value):
        return UNKNOWN
    rounded = round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:+.{digits}f}" if sign else f"{rounded:.{digits}f}"


def interval(
    estimate: "Estimate",
    digits: int = 3,
    *,
    scale: float = 1,
    unit: str = "",
    sign: bool = False,
    unknown: str = "not testable",
) -> str:
    """An estimate, times `scale`, with its 95% interval: 0.700 [0.600, 0.800].

    An interval without width is no certainty: all units are alike, and nothing was left to resample. It is left out,
    and the number of units is said instead. A narrow one is said with as many decimals as show its width.
    """
    value, low, high = (scale * part for part in (estimate.value, estimate.low, estimate.high))
    if not math.isfinite(value):
        return unknown
    if not (math.isfinite(low) and math.isfinite(high)) or high - low < _NO_WIDTH:
        return f"{number(value, digits, sign=sign)}{unit} (no interval from n={estimate.n})"
    while number(low, digits) == number(high, digits):
        digits += 1
    return f"{number(value, digits, sign=sign)}{unit} [{number(low, digits)}, {number(high, digits)}]"


def percent(estimate: "Estimate", digits: int = 1, *, unit: str = "") -> str:
    """A rate in percent with its interval; a dash where it is unknown."""
    return interval(estimate, digits, scale=100, unit=unit, unknown=UNKNOWN)


def points(estimate: "Estimate", digits: int = 2, *, unit: str = "") -> str:
    """A difference or slope of rates in percentage points, with its sign and interval; a dash where it is unknown."""
    return interval(estimate, digits, scale=100, unit=unit, sign=True, unknown=UNKNOWN)


def spread(mean: float, low: float, high: float, digits: int = 3) -> str:
    """A mean with the range it is from: 0.643 (range 0.601 to 0.680)."""
    return f"{number(mean, digits)} (range {number(low, digits)} to {number(high, digits)})"


def of_items(estimate: "Estimate", items: int) -> str:
    """The number of items behind an estimate, where it is not the one said already: " (n=17)"."""
    return f" (n={estimate.n})" if estimate.n not in (0, items) else ""


def count(size: int, noun: str) -> str:
    """A number of things: 1 neuron, 3 neurons, 1,000 neurons."""
    return f"{size:,} {noun}{'' if size == 1 else 's'}"


def listing(names: Sequence[str]) -> str:
    """Names as in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: the one that may be meant, and all that are known."""
    close = difflib.get_close_matches(name, known, n=1)
    meant = f", did you mean '{close[0]}'?" if close else ":"
    return f"{meant} known are {', '.join(sorted(known))}"


def printable(text: str) -> str:
    """Text for a terminal: characters that could command it, or turn the direction of writing, become a mark."""
    return "".join("\ufffd" if _commands(character) else character for character in text)


def _commands(character: str) -> bool:
    if character in "\n\t":
        return False
    # Lone surrogates ("Cs") cannot be written at all.
    return character in _TURNS or unicodedata.category(character) in ("Cc", "Cs")
