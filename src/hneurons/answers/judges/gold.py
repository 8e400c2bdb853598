"""What known answers mean: marks of "none", lists stored as text, and the forms that mean the same answer.

Question sets write their answers for readers: "(Jacques) CARTIER", "Bush, George", "PIGEONS or DOVES", "about 1500 BC",
"Swan (disambiguation)". `forms` gives what else such an answer says, and how it was made.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from hneurons.answers.judges.normalize import word_set

Kind = Literal["exact", "form", "name", "part", "date", "number", "list"]
"""How a form was made: the answer itself; the same without brackets or approximation; a name's other order or
without middle names; one of several alternatives; the same date, number or list, otherwise written."""

_NONE = frozenset(
    {"<unk>", "[unk]", "<none>", "n/a", "cannotanswer", "[no answer]", "<no answer>", "no answer", "noanswer",
     "unanswerable", "[unanswerable]", "<na>", "[none]", "<no_answer>", "no_answer", "-1#ind"}
)  # fmt: skip
_BRACKETED = re.compile(r"[(\[{]([^()\[\]{}]{0,80})[)\]}]")
_ARRAY = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_QUOTES = "\"'“”‘’«»`"
_APPROXIMATE = re.compile(
    r"(?:(?:in|on|at|by|to|from|for|since|during|around|about|circa|c\.|ca\.|approximately|approx\.?|roughly|almost|nearly|over"
    r"|more\ than|at\ least|up\ to|usually|early|late|mid|outside|near|a|an|the|his|her|their|its)[\s-]+)+(?=\S)",
    re.IGNORECASE,
)
_TITLES = re.compile(
    r"(?:(?:the|sir|dame|lord|lady|king|queen|prince|princess|emperor|empress|pope|saint|st\.?|president|general|gen\.?"
    r"|captain|capt\.?|colonel|col\.?|major|dr\.?|mr\.?|mrs\.?|ms\.?|miss|prof\.?|professor|archduke|duke|count|baron"
    r"|senator|judge|justice|rev\.?|reverend|father|brother|sister|admiral|tsar|czar|sultan|chief)\s+)+(?=[A-Z])",
    re.IGNORECASE,
)
_SHORT = {"St": "Saint", "Mt": "Mount", "Ft": "Fort", "Saint": "St.", "Mount": "Mt.", "Fort": "Ft."}
_SHORTENED = re.compile(r"\b(St|Mt|Ft|Saint|Mount|Fort)(?:\.\s{0,3}|\s{1,3})(?=[A-Z])")
_SUFFIXES = re.compile(r",?\s{1,5}(?:Jr|Sr|Junior|Senior|MD|PhD|KBE|CBE|OBE|MBE)\.?$")
_NAME = re.compile(r"(?:[^\W\d_a-z][\w'’.-]*|de|da|di|du|la|le|van|von|der|den|del|bin|ibn|al|of)")
_OR = re.compile(r"\s{1,5}(?:or|aka|a\.k\.a\.?|also known as)\s{1,5}|;|\s{1,5}/\s{1,5}", re.IGNORECASE)
_NOBILIARY = word_set("de da di du la le van von der den del bin ibn al of")


class Form(NamedTuple):
    """One way to say a known answer: its text, the answer it was made from, and how."""

    text: str
    answer: str
    kind: Kind


def is_none(text: str) -> bool:
    """Whether an answer only marks that there is none, as test splits do: `<unk>`, N/A, CANNOTANSWER."""
    return text.strip().casefold() in _NONE or text.strip() in ("null", "NULL", "nan", "NaN")


def unpack(texts: Iterable[str]) -> tuple[str, ...]:
    """Answers without repeats, blanks and marks of none; a list stored as one text becomes its items."""
    found: dict[str, None] = {}
    for text in texts:
        for item in _items(text.strip()):
            if item.strip() and not is_none(item):
                found.setdefault(item.strip())
    return tuple(found)


def _items(text: str) -> list[str]:
    if not (len(text) > 3 and text[0] == "[" and text[-1] == "]" and text[1:].lstrip()[:1] in "\"'"):
        return [text]
    strings = _ARRAY.findall(text)
    between = _ARRAY.sub("", text).strip("[]")
    if strings and not between.replace(",", "").strip() and "," not in between and len(strings) > 1:
        return [one or other for one, other in strings]  # as an array prints itself: ['a' 'b']
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            return [str(item) for item in value]
    return [text]


def forms(answers: Iterable[str]) -> Iterator[Form]:
    """Every form of every known answer, the answers themselves first."""
    known = unpack(answers)
    yield from (Form(answer, answer, "exact") for answer in known)
    for answer in known:
        yield from _forms_of(answer)


def _forms_of(answer: str) -> Iterator[Form]:
    plain = answer.strip(_QUOTES + " .")
    without = " ".join(_BRACKETED.sub(" ", plain).split())
    opened = " ".join(re.sub(r"[()\[\]{}]", " ", plain).split())
    bases = dict.fromkeys(text for text in (plain, without, opened) if text and text != answer)
    for base in bases:
        yield Form(base, answer, "form")
    whole = without or plain
    for base in (whole, opened) if opened != whole else (whole,):
        core = _APPROXIMATE.sub("", base, count=1) if _APPROXIMATE.match(base) else base
        if core != base and not core[0].isspace():
            yield Form(core, answer, "form")
        yield from (Form(name, answer, "name") for name in name_forms(core))
    if (spelled := _SHORTENED.sub(lambda found: _SHORT[found[1]] + " ", whole)) != whole:
        yield Form(spelled, answer, "form")
    alternatives = [part.strip(_QUOTES + " ,") for part in _OR.split(whole)]
    if len(alternatives) > 1 and all(len(part) > 1 for part in alternatives):
        for part in alternatives:
            yield Form(part, answer, "part")


def name_forms(text: str) -> Iterator[str]:
    """Other ways to write a name: without title or suffix, "First Last" for "Last, First", without middle names."""
    bare = _SUFFIXES.sub("", text)
    if bare != text:
        yield bare
    untitled = _TITLES.sub("", bare, count=1) if _TITLES.match(bare) else bare
    if untitled != bare and " " in untitled:
        yield untitled
    last, comma, first = untitled.partition(",")
    if comma and "," not in first and is_name(last) and is_name(first.strip()) and len(untitled.split()) <= 5:
        untitled = f"{first.strip()} {last}"
        yield untitled
    if nickname := re.search(r"[\"“(]([A-Z][\w.-]+)[\"”)]", untitled):
        words = untitled.split()
        yield f"{nickname.group(1)} {words[-1]}"
        untitled = " ".join(re.sub(r"[\"“(][^\"”)]*[\"”)]", " ", untitled).split())
        yield untitled
    words = untitled.split()
    if 3 <= len(words) <= 6 and is_name(untitled) and not any(character.isdigit() for character in untitled):
        start = len(words) - 1
        while start > 1 and words[start - 1].casefold() in _NOBILIARY:
            start -= 1
        if words[-1].casefold() not in _NOBILIARY and "of" not in words:
            yield " ".join([words[0], *words[start:]])
            yield " ".join([words[0], f"{words[1][0]}.", *words[start:]])


def is_name(text: str) -> bool:
    """Whether every word is written as a name: with a capital, or a particle like "van"."""
    words = text.split()
    return bool(words) and words[0][:1].isupper() and all(_NAME.fullmatch(word) for word in words)
