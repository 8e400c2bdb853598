"""Where known answers stand in a reply as whole words, and why the words at a place may yet not answer the question."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hneurons.answers.judges.dates import Date, read_dates
from hneurons.answers.judges.gold import Kind, forms, unpack
from hneurons.answers.judges.normalize import Token, append, join, tokenize, word_set
from hneurons.answers.judges.numbers import read_numbers
from hneurons.core.types import Question

STOPWORDS = word_set(
    "a an i it us who in or me hi ok is do so we he she him her be at on by of to no as if my up go am are was not you "
    "they that this what one 1 what's which when where how why all so"
)
MAX_KNOWN = 24
"""Known answers compared word by word; of more the first count, as question sets put the main ones first."""

CONTENT_STOP = STOPWORDS | word_set(
    "for from with his its their our your my has have had been were which who that this than then there these those "
    "s into also known called named about between during over under after before"
)
_YES_NO = frozenset({"yes", "no"})


@dataclass(frozen=True, slots=True)
class Known:
    """A form of a known answer, and what it needs in order to stand out from common words."""

    text: str
    kind: Kind
    weak: bool
    needs_the: bool
    in_question: bool


@dataclass(frozen=True, slots=True)
class KnownWords:
    """A known answer as tokens, with its content words that the question does not say, dates and numbers."""

    tokens: tuple[Token, ...]
    content: tuple[str, ...]
    novel: tuple[str, ...]
    dates: tuple[Date, ...]
    numbers: tuple[float, ...]
    plain: str
    text: str
    is_name: bool
    is_date: bool
    items: tuple[tuple[str, ...], ...]


class Compiled(NamedTuple):
    """A question made ready for judging many replies: known forms by `join`, the question's tokens, all known words."""

    known: dict[str, Known]
    longest: int
    question: tuple[str, ...]
    words: frozenset[str]
    is_choice: bool
    options: frozenset[str]
    answers: tuple[KnownWords, ...]


class Match(NamedTuple):
    """Tokens [start, end) of a reply that say a known answer."""

    start: int
    end: int
    known: Known


@lru_cache(maxsize=20_000)
def compile_question(question: Question) -> Compiled:
    """The known answers of a question and their other forms, as tokens."""
    question_tokens = tokenize(question.text)
    asked = tuple(token.text for token in question_tokens)
    known: dict[str, Known] = {}
    for text, answer, kind in forms(question.answers):
        tokens = tokenize(text)
        if len(tokens) > 1 and tokens[0].text in ("a", "an") and tokens[1].gap == " ":
            tokens = tokens[1:]
        if not tokens:
            continue
        words = [token.text for token in tokens]
        key = join(tokens)
        weak = (
            key in STOPWORDS
            or all(word in STOPWORDS for word in words)
            or (len(key) == 1 and key.isascii() and key.isalpha())
        )
        if kind != "exact" and (weak or len(key) < 3 or key in known):
            continue
        form = Known(answer, kind, weak, weak and tokens[0].after_the, contains(asked, words))
        if key not in known or (known[key].weak and form.weak and not text.islower()):
            known[key] = form
    exact = [form for form in known.values() if form.kind == "exact"]
    is_choice = "or" in asked or contains(asked, ["which", "1"]) or all(form.in_question for form in exact)
    options = _options(question_tokens) if "or" in asked else _YES_NO if _YES_NO & known.keys() else frozenset()
    words_known = frozenset(token.text for answer in question.answers for token in tokenize(answer))
    return Compiled(
        known, max(map(len, known), default=0), asked, words_known, is_choice, options, _known_words(question, asked)
    )


def _known_words(question: Question, asked: tuple[str, ...]) -> tuple[KnownWords, ...]:
    """The first `MAX_KNOWN` known answers as words."""
    found: dict[str, KnownWords] = {}
    for answer in unpack(question.answers):
        tokens = tuple(tokenize(re.sub(r"\s*\((?:disambiguation|[^()]*)\)\s*$", "", answer) or answer))
        plain = " ".join(token.text for token in tokens)
        if not tokens or plain in found:
            continue
        content = tuple(token.text for token in tokens if token.text not in CONTENT_STOP)
        novel = tuple(word for word in content if word not in asked) or content
        dates = tuple(read_dates(tokens))
        is_name = 2 <= len(tokens) <= 5 and all(t.raw[:1].isupper() for t in tokens if t.text not in STOPWORDS)
        is_date = len(dates) == 1 and dates[0].end - dates[0].start == len(tokens)
        numbers = tuple(read_numbers(tokens))
        found[plain] = KnownWords(
            tokens, content, novel, dates, numbers, plain, answer, is_name, is_date, _items(tokens)
        )
        if len(found) == MAX_KNOWN:
            break
    return tuple(found.values())


def _items(tokens: tuple[Token, ...]) -> tuple[tuple[str, ...], ...]:
    """The items of a list, each as words; empty where the answer is no list."""
    items: list[list[str]] = [[]]
    for token in tokens:
        if items[-1] and re.search("[,;/&]", token.gap):
            items.append([])
        items[-1].append(token.text)
    return tuple(map(tuple, items)) if 1 < len(items) <= 12 else ()


def _options(tokens: list[Token]) -> frozenset[str]:
    """What a question offers to choose from ("a bird, a fish or an insect?"), each as `join` writes it."""
    found = set()
    for start, first in enumerate(tokens):
        before = tokens[start - 1].text if start else ""
        opens = before in ("a", "an", "or") or first.after_the or bool(re.search("[,:]", first.gap))
        for end in range(start + 1, min(len(tokens), start + 5) + 1) if opens else ():
            if end == len(tokens) or "," in tokens[end].gap or tokens[end].text == "or":
                found.add(join(tokens[start:end]))
                break
    return frozenset(found)


def contains(words: tuple[str, ...], part: list[str]) -> bool:
    """Whether `part` stands in `words` as it is."""
    return any(list(words[n : n + len(part)]) == part for n in range(len(words) - len(part) + 1))


def find_matches(tokens: list[Token], compiled: Compiled) -> list[Match]:
    """At each place the longest known form that starts there."""
    found = []
    for start in range(len(tokens)):
        joined, best = "", None
        for end in range(start, len(tokens)):
            joined = append(joined, tokens[end].text)
            if len(joined) > compiled.longest:
                break
            if (form := compiled.known.get(joined)) is not None:
                best = Match(start, end + 1, form)
        if best is not None:
            found.append(best)
    return found
