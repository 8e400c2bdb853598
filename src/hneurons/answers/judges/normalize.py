"""Text as comparable tokens: case, diacritics, punctuation, contractions and spelled-out numbers made alike."""

import re
import unicodedata
from typing import NamedTuple

from hneurons.answers.judges.spelling import name_greek, respell

_LETTERS = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe"}
)
_MARKS = str.maketrans(
    dict.fromkeys("™®©℠", " ")
    | dict.fromkeys("\u2212\ufe63\uff0d\u2010\u2011", "-")
    | {"♯": "#"}
    | {mark: f"^{n}" for n, mark in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
)
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼʻ`´′", "'"))
# Accents of Latin and Greek letters, Hebrew points and Arabic vowel signs are left out in ordinary writing; vowel signs
# of Indic scripts and the breve of й are letters like others.
_ACCENT = re.compile("(?<=[A-Za-z\u00aa-\u03ff\u1e00-\u1fff\u0300-\u036f])[\u0300-\u036f]|(?<=[ЕеЭэ])\u0308")
_DROPPED = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c7\u0640\u064b-\u0652\u0670\u200b-\u200f\u2060\ufeff]")
_GREATEST = 1e18  # "hundred hundred hundred ..." is no number
_DIGIT = re.compile(r"(?![0-9])\d")
# Scripts written without spaces (and Hangul, whose particles are attached): every character is a token.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af"
# Letters, and the signs that belong to them in Indic scripts and after Cyrillic.
LETTER = "(?:[^\\W_]|[\u0300-\u036f\u0900-\u0963\u0966-\u0dff\u0f71-\u0f84])"
_TOKEN = re.compile(
    rf"""(?P<grouped>(?<![\w.-])-?\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?(?![\d,]*\d))
    | (?P<number>(?:(?<![\w.)-])-)?\d+(?:[.:/]\d+)*(?=(?:km|kg|cm|mm|ft|lbs?|mph|bn|m|g|percent|million|billion)?\b))
    | (?P<signed>(?<!\w)(?:(?-i:[A-Z][A-Za-z]?)[-+](?![\w+-])|[a-z]\w{{0,11}}(?:\+\+|\#)(?![\w+])))
    | (?P<plus>(?<=[^\W\d_])\+(?![\w+]))
    | (?P<spaceless>[{_SPACELESS}])
    | (?P<letters>[a-z]{{4,}}(?=\d{{1,3}}(?!\w)))
    | (?P<word>(?:(?![{_SPACELESS}]){LETTER})+(?:'(?:(?![{_SPACELESS}]){LETTER})+)*)""",
    re.VERBOSE | re.IGNORECASE,
)


def word_set(words: str) -> frozenset[str]:
    """The words of a space-separated list."""
    return frozenset(words.split())


def _numbered(words: str, start: int, step: int = 1) -> dict[str, int]:
    return {word: start + step * n for n, word in enumerate(words.split())}


_ABBREVIATIONS = word_set(
    "mr mrs ms dr drs st jr sr vs no mt prof gen col lt capt ft etc inc ltd co rev hon sgt bros op vol fig ch pp al"
)
_SENTENCE_END = re.compile(r"(?:[!?](?![\"')\]*”]+\s+[a-z])|(?<!\.)\.(?!\.))[\"')\]*”]*\s|[。！？\n]")
_PRONOUNS = word_set("i you he she it we they that this there who what where here how let")
_ENDINGS = {"'s": "is", "'re": "are", "'m": "am", "'ve": "have", "'ll": "will", "'d": "would"}
_NOT = {"can't": "can", "won't": "will", "shan't": "shall", "ain't": "is", "cannot": "can"}
_BARE_NOT = {word + "nt": word for word in word_set("do does did is was are were could would should have has")}
_ROMAN = {
    word: str(n)
    for word, n in _numbered("i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii xviii xix xx", 1).items()
    if len(word) > 1
}
_SMALL = _numbered(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    0,
)
_TENS = _numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = _numbered(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth",
    1,
)
_SIGNS = frozenset({"minus", "negative", "positive"})
_NUMERIC = {*_SMALL, *_TENS, *_SCALES, *_ORDINALS}


class Token(NamedTuple):
    """One comparable token. `gap` is what stood between it and the token before; "the" and "and" are folded into it."""

    text: str
    raw: str
    gap: str
    starts_sentence: bool
    after_the: bool = False


def fold(text: str) -> str:
    """Compatibility forms, Latin diacritics and curly apostrophes made plain; case kept."""
    if text.isascii():
        return text.translate(_APOSTROPHES) if "`" in text else text
    text = unicodedata.normalize("NFKD", text.translate(_MARKS))
    text = unicodedata.normalize("NFKC", _DROPPED.sub("", _ACCENT.sub("", text)))
    text = _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit.group())), text)
    return text.translate(_LETTERS).translate(_APOSTROPHES)


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, numbers as digits, without "the", "and" and "percent"."""
    text = name_greek(fold(text))
    tokens: list[Token] = []
    end, gap, after_the, starts = 0, "", False, True
    for match in _TOKEN.finditer(text):
        between = text[end : match.start()]
        gap += between
        raw = match.group()
        if tokens and _SENTENCE_END.search(between + text[match.start()]) and not _abbreviates(tokens[-1].raw, between):
            starts = True
        end = match.end()
        if match.lastgroup == "grouped":
            parts: tuple[str, ...] = (raw.replace(",", ""),)
        elif match.lastgroup in ("signed", "plus"):
            parts = ("plus",) if raw == "+" else (raw.casefold(),)
        else:
            parts = tuple(respell(part, raw) for part in _parts(raw.casefold()))
        if parts[0] in ("the", "and", "percent"):
            gap, after_the = gap + ("&" if parts[0] == "and" else " "), parts[0] == "the"
            continue
        for n, part in enumerate(parts):
            tokens.append(Token(part, raw, gap if n == 0 else "", starts and n == 0, after_the and n == 0))
        gap, after_the, starts = "", False, False
    if not tokens and text.strip().casefold().strip(".!?\"'") in ("the", "and"):
        return [Token(text.strip().casefold().strip(".!?\"'"), text.strip(), "", True)]
    if len(tokens) == 1 and tokens[0].raw.isalpha():
        tokens = [tokens[0]._replace(text=respell(tokens[0].text, tokens[0].text))]
    if any(token.text in _NUMERIC for token in tokens):
        tokens = _spell_numbers(tokens)
    return _join_signs(tokens) if any(token.text in _SIGNS for token in tokens) else tokens


def _join_signs(tokens: list[Token]) -> list[Token]:
    """Spelled signs as signs: "minus 40" -40, "AB negative" ab-."""
    joined: list[Token] = []
    for n, token in enumerate(tokens):
        before = tokens[n - 1] if n else None
        if before is not None and token.gap in (" ", "-"):
            if before.text in ("minus", "negative") and token.text[0].isdigit():
                joined[-1] = before._replace(text="-" + token.text, raw=token.raw)
                continue
            if before.raw in ("A", "B", "AB", "O") and token.text in ("positive", "negative"):
                joined[-1] = before._replace(text=before.text + ("+" if token.text == "positive" else "-"))
                continue
        joined.append(token)
    return joined


def _abbreviates(raw: str, gap: str) -> bool:
    """Whether a full stop after `raw` belongs to it ("J.", "Dr.") rather than ending a sentence."""
    return gap.startswith(".") and "\n" not in gap and (len(raw) == 1 or raw.casefold() in _ABBREVIATIONS)


def _parts(word: str) -> tuple[str, ...]:
    """A casefolded word without its contraction: "isn't" is not, "it's" is, "France's" s."""
    if word in _ROMAN:
        return (_ROMAN[word],)
    if word in _NOT:
        return (_NOT[word], "not")
    if word in _BARE_NOT:
        return (_BARE_NOT[word], "not")
    if "'" not in word:
        return (word,)
    if word.endswith("n't"):
        return (word[:-3], "not")
    base, _, ending = word.rpartition("'")
    if base in _PRONOUNS and "'" + ending in _ENDINGS:
        return (base, _ENDINGS["'" + ending])
    if ending == "s":
        return (base.replace("'", ""), "s")
    return (word.replace("'", ""),)


def _spell_numbers(tokens: list[Token]) -> list[Token]:
    """Number words as digits: "twenty-four" 24, "nineteen eighty-four" 1984, "5 million" 5000000, "first" 1st."""
    spelled = []
    position = 0
    while position < len(tokens):
        text, after = _number_at(tokens, position)
        spelled.append(tokens[position]._replace(text=text) if text else tokens[position])
        position = after
    return spelled


def _number_at(tokens: list[Token], start: int) -> tuple[str, int]:
    """The digits of the number that begins at `start` ("" where none does) and the position after it."""
    total, current, position = 0.0, -1.0, start
    while position < len(tokens):
        token = tokens[position]
        word = token.text
        if position > start and token.gap.strip(" -\u2010\u2011&"):
            break
        if position > start and "&" in token.gap and max(total, current) < 100:
            break
        if word in _ORDINALS and (current < 0 or current % 10 == 0):
            if position > start and current < 20:
                break
            return _ordinal(int(total + max(current, 0)) + _ORDINALS[word]), position + 1
        value = _SMALL.get(word, _TENS.get(word))
        if value is not None:
            if current <= 0 and (current < 0 or total):
                current = value
            elif (current % 100 == 0 and current and value < 100) or (
                current % 100 >= 20 and current % 10 == 0 and 0 < value < 10
            ):
                current += value
            elif 10 <= current < 100 and value >= 10:
                current = 100 * current + value
            else:
                break
        elif word in _SCALES and max(current, 1) * _SCALES[word] < _GREATEST:
            current = max(current, 0) if current > 0 else 1
            if word in ("dozen", "hundred"):
                current *= _SCALES[word]
            else:
                total, current = total + current * _SCALES[word], 0
        elif (
            position == start
            and _is_decimal(word)
            and position + 1 < len(tokens)
            and tokens[position + 1].text in _SCALES
        ):
            current = float(word)
        else:
            break
        position += 1
    if position == start:
        return "", start + 1
    number = total + max(current, 0)
    return f"{number:.6f}".rstrip("0").rstrip("."), position


def _is_decimal(word: str) -> bool:
    return len(word) <= 20 and word.replace(".", "", 1).isdecimal() and word.isascii()


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def join(tokens: list[Token]) -> str:
    """The tokens without spaces, so that "Spider-Man", "Spiderman" and "spider man" are one; digits stay apart."""
    joined = ""
    for token in tokens:
        joined = append(joined, token.text)
    return joined


def append(joined: str, text: str) -> str:
    """`join` by one token more."""
    return f"{joined}_{text}" if joined and joined[-1].isdigit() and text[0].isdigit() else joined + text


def is_number(text: str) -> bool:
    """Whether a token is written in digits."""
    return text[:1].isdigit() or (text[:1] == "-" and text[1:2].isdigit())
