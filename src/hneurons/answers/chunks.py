"""Dates, numbers and names in a sentence: what a short answer of each kind looks like."""

import re
from collections.abc import Iterator

from hneurons.answers.asked_kind import AskedKind
from hneurons.answers.judges.normalize import word_set
from hneurons.core.types import Span

_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?"
)
_DATE = re.compile(
    rf"""(?:\d{{1,2}}(?:st|nd|rd|th)?\s(?:of\s)?)?\b{_MONTH}(?:\s\d{{1,2}}(?:st|nd|rd|th)?\b)?(?:,?\s(?:of\s)?\d{{4}})?(?![a-z])
    | \b\d{{1,4}}[/.-]\d{{1,2}}[/.-]\d{{2,4}}\b
    | \b(?:1\d{{3}}|20\d{{2}})s?(?:\s?[–-]\s?(?:\d{{4}}|\d{{2}}))?(?=\D|$)
    | \b\d{{1,4}}\s(?:BC|BCE|AD|CE)\b | \b\d{{1,2}}(?:st|nd|rd|th)[\s-]century\b
    | \b(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|spring|summer|autumn|fall|winter|season\s\d+)\b""",
    re.VERBOSE,
)
_NUMBER_WORD = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|dozen)"
)
_NUMBER = re.compile(
    rf"""(?:[$€£¥₹]\s?)?(?<![\w.])-?\d[\d,.]*\d(?:\s?(?:%|percent|hundred|thousand|million|billion|trillion))?
    | (?:[$€£¥₹]\s?)?(?<![\w.])-?\d(?:\s?(?:%|percent|hundred|thousand|million|billion|trillion))?(?!\w)
    | \b{_NUMBER_WORD}(?:[\s-](?:and\s)?{_NUMBER_WORD}){{0,6}}\b""",
    re.VERBOSE | re.IGNORECASE,
)
_NAME = re.compile(
    r"""“[^”\n]{2,90}” | "[^"\n]{2,90}" | ["“]?(?:[A-ZÀ-Þ0-9][\w.'’&/-]*)
    (?:\s(?:(?:of|the|de|da|di|du|van|von|der|del|la|le|and|&|in|on|to|for|bin|al)\s){0,2}["“(]?[A-ZÀ-Þ0-9][\w.'’&/-]*[)”"]?){0,12}""",
    re.VERBOSE,
)
_ADJECTIVE = re.compile(r"[A-Z]\w+(?:an|ish|ese|ic|ch|al|ly|ed)")
_WORD = re.compile(r"\w+")
PLAIN_WORDS = word_set(
    "the a an of in on at to for from by with and or is was are were be been being has have had it its he she they "
    "this that these those his her their as also who which what when where did do does how many much there not i "
    "you we my your our s than most first last name known called named year"
)
"""Words that say nothing of their own, in lower case."""

_OPENERS = word_set(
    "unfortunately however although though while according based yes no sure as if since because after before "
    "during some many several there here i my one two when what who where which additionally currently today"
)


def content_words(text: str) -> list[str]:
    """The words of a text that say something, in lower case."""
    return [word for word in _WORD.findall(text.casefold()) if word not in PLAIN_WORDS]


def is_new(text: str, asked: frozenset[str]) -> bool:
    """Whether a text has a word that the question has not."""
    return any(word not in asked for word in content_words(text))


def fits(text: str, kind: AskedKind) -> bool:
    """Whether a text could be an answer of the kind: with a date where one asks when, a number for how many."""
    if kind == "when":
        return _DATE.search(text) is not None or any(character.isdigit() for character in text)
    if kind == "many":
        return _NUMBER.search(text) is not None
    return True


def find_chunks(text: str, start: int, end: int, kind: AskedKind, asked: frozenset[str]) -> Iterator[Span]:
    """Stretches of [start, end) that look like answers of the kind and are new to the question, in order."""
    pattern = {"when": _DATE, "many": _NUMBER}.get(kind, _NAME)
    for match in pattern.finditer(text, start, end):
        found = match.group().strip('"“”')
        if not is_new(found, asked) or found.casefold() in _OPENERS or (pattern is _NAME and found.isdigit()):
            continue
        if pattern is _NAME and _ADJECTIVE.fullmatch(found) and text[match.end() : match.end() + 2].strip().islower():
            continue
        yield match.start(), match.end()
