"""Dates in a text, in any order and precision, and how a date of a reply relates to a known one."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from hneurons.answers.judges.normalize import Token

Relation = Literal["same", "finer", "coarser", "other"]
"""How a found date relates to a known one: equal; agrees and says more; agrees and says less; another date."""

_NAMES = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
MONTHS = {name: n for n, name in enumerate(_NAMES, 1)} | {name[:3]: n for n, name in enumerate(_NAMES, 1)} | {"sept": 9}
_DAY = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?")
_YEAR = re.compile(r"(1\d{3}|20\d{2})(s?)")
_DECADE = re.compile(r"([2-9]0)s")
_CENTURY = re.compile(r"(\d{1,2})(?:st|nd|rd|th)")
_NUMERIC = re.compile(r"(\d{1,4})[/.](\d{1,2})[/.](\d{2,4})")


class Date(NamedTuple):
    """A date or a part of one; 0 where a part is not said.

    `years` is 1, 10 for a decade ("1970s") or 100 for a century, which then begin with `year`. `start` and `end` are
    its tokens.
    """

    year: int
    month: int
    day: int
    years: int = 1
    start: int = 0
    end: int = 0


def read_dates(tokens: Sequence[Token]) -> list[Date]:
    """Every date of a text: "12 April 1979", "April 12th, 1979", "12/4/1979", "1979-04-12", "1979", "1970s"."""
    found: list[Date] = []
    n = 0
    while n < len(tokens):
        date, end = _date_at(tokens, n)
        if date is not None:
            found.append(date._replace(start=n, end=end))
        n = end
    return found


def _date_at(tokens: Sequence[Token], n: int) -> tuple[Date | None, int]:
    """The date that begins at a token, and where to go on."""
    word = tokens[n].text
    if numeric := _NUMERIC.fullmatch(word):
        a, b, c = map(int, numeric.groups())
        year, month, day = (a, b, c) if a > 31 else (c if c > 99 else 1900 + c, a, b)
        if month > 12:
            month, day = day, month
        return (Date(year, month, day), n + 1) if 0 < month <= 12 and 0 < day <= 31 else (None, n + 1)
    following = [token.text for token in tokens[n + 1 : n + 4]] + ["", "", ""]
    if _YEAR.fullmatch(word) and _month_day(following) and all(t.gap == "-" for t in tokens[n + 1 : n + 3]):
        return Date(int(word), int(following[0]), int(following[1])), n + 3
    if month := _month(tokens, n):
        day = _day(following[0])
        year, at = _year(following[1]), n + 3
        if not day:
            year, at = _year(following[0]), n + 2
        elif not year:
            at = n + 2
        if not year:
            at = n + 2 if day else n + 1
        if not year and not day and word == "may":
            return None, n + 1
        return Date(year, month, day), at
    if (day := _day(word)) and (month := _month(tokens, n + 1 + (following[0] == "of"))):
        skip = following[0] == "of"
        year = _year(following[1 + skip])
        return Date(year, month, day), n + 2 + skip + bool(year)
    if year_match := _YEAR.fullmatch(word):
        return Date(int(year_match.group(1)), 0, 0, 10 if year_match.group(2) else 1), n + 1
    if decade := _DECADE.fullmatch(word):
        return Date(1900 + int(decade.group(1)), 0, 0, 10), n + 1
    if following[0] in ("century", "centuries") and (century := _CENTURY.fullmatch(word)):
        return Date(100 * int(century.group(1)) - 99, 0, 0, 100), n + 2
    return None, n + 1


def _month_day(words: Sequence[str]) -> bool:
    return all(word.isdecimal() and len(word) <= 2 for word in words[:2]) and 0 < int(words[0]) <= 12


def _month(tokens: Sequence[Token], n: int) -> int:
    if n >= len(tokens) or (tokens[n].text in ("may", "march", "mar") and not tokens[n].raw[0].isupper()):
        return 0
    return MONTHS.get(tokens[n].text, 0)


def _day(word: str) -> int:
    match = _DAY.fullmatch(word)
    return int(match.group(1)) if match and 0 < int(match.group(1)) <= 31 else 0


def _year(word: str) -> int:
    match = _YEAR.fullmatch(word)
    return int(match.group(1)) if match and not match.group(2) else 0


def compare_dates(known: Date, found: Date) -> Relation:
    """How `found` relates to `known`, part by part."""
    if known.years > 1 or found.years > 1:
        first, last = max(known.year, found.year), min(known.year + known.years, found.year + found.years)
        if not (known.year and found.year) or first >= last:
            return "other"
        return "same" if known.years == found.years else "finer" if known.years > found.years else "coarser"
    more = less = shared = 0
    for mine, theirs in zip(known[:3], found[:3], strict=True):
        if mine and theirs:
            if mine != theirs:
                return "other"
            shared += 1
        more += bool(theirs and not mine)
        less += bool(mine and not theirs)
    if not shared:
        return "other"
    return "coarser" if less else "finer" if more else "same"
