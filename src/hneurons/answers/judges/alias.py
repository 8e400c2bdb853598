"""The `alias` judge: does a reply commit to one of the question's known answers? Pure text, microseconds a reply.

Decisions, each with rows in the tests' table of hard cases:

- A known answer counts where it stands as whole words, however it is spelled (case, diacritics, hyphens,
  "1,000"/"1000", "twelve"/"12"), and is not negated ("not Paris"), compared ("older than Rome"), part of another
  name ("New Mexico", "step-mother") or only a restatement of the question.
- Where the first sentence is a bare answer ("London. Paris is in France."), only that sentence counts.
- A reply that offers several candidates ("Paris or London"; of a question's options "a bird, a fish"; "yes and no")
  and is right with some of them is `unscored`: it commits to none. "Marx and Engels" for Marx is correct. So is an
  empty reply, and every reply to an answerable question without known answers.
- No known answer, and no answer at all ("I don't know", "there is no such animal"): `abstained`.
- About something invented (`answerable=False`) nothing is `correct`: denying or not knowing is `abstained`, any
  answer is `incorrect`, as the positive class is the confident made-up answer.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from hneurons.answers.judges.abstention import abstains
from hneurons.answers.judges.normalize import Token, append, is_number, join, tokenize, word_set
from hneurons.answers.spans import LEAD_IN
from hneurons.core.types import Question, Verdict

VERSION = 2
"""Counts changes of the rules that can change a verdict; stored with results."""

_STOPWORDS = word_set(
    "a an i it us who in or me hi ok is do so we he she him her be at on by of to no as if my up go am are was not you "
    "they that this what one 1 what's which when where how why all so"
)
_COMMON = _STOPWORDS - {"or"}
_OTHER_PLACE = word_set("new north south east west equatorial papua vice")
_PREFIXES = word_set("step non anti semi ex half co sub mid pre post un counter pseudo neo great")
_MONTHS = word_set("january february march april may june july august september october november december")
_BREAKS = re.compile(r"[,;:—–()]|\s-\s")
_LISTS = re.compile("[,;/&]")
_YES_NO = frozenset({"yes", "no"})
_NEGATIONS = word_set("not never neither nor without no unlike than except besides excluding")
_COPULAS = word_set("is was are were am be being been called named")
_CONTRASTS = word_set("but however though although rather instead")
_NOT_NEGATING = word_set("only until till just doubt longer later less more fewer surprisingly")
_DOUBTS = word_set("think believe know sure certain suppose say recall confirm unsure information evidence record idea")
_LEADS_TO_OR = word_set("either maybe possibly perhaps probably likely even a an it is in")


class JudgedText(NamedTuple):
    """A verdict and why: the alias that matched, or what was found instead."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class _Alias:
    text: str
    weak: bool
    needs_the: bool
    in_question: bool


class _Compiled(NamedTuple):
    aliases: dict[str, _Alias]
    longest: int
    question: tuple[str, ...]
    is_choice: bool
    options: frozenset[str]


class _Match(NamedTuple):
    start: int
    end: int
    alias: _Alias


def judge_alias(question: Question, text: str) -> JudgedText:
    """Judge one reply against the question's aliases. The module's docstring says how."""
    tokens = tokenize(text)
    if not tokens:
        return JudgedText("unscored", "empty reply")
    if not question.answerable:
        denied = abstains(tokens, answerable=False)
        return (
            JudgedText("abstained", "no answer given")
            if denied
            else JudgedText("incorrect", "answers about something invented")
        )
    if not question.answers:
        silent = abstains(tokens)
        return JudgedText("abstained", "no answer given") if silent else JudgedText("unscored", "no known answers")
    compiled = _compile(question)
    if (alias := compiled.aliases.get(join(tokens))) is not None:
        if alias.in_question and not compiled.is_choice:
            return JudgedText("unscored", f"known answer, but the question says it too: {alias.text}")
        return JudgedText("correct", alias.text)
    tokens = _committed(tokens, text)
    problem = ""
    for match in _matches(tokens, compiled):
        fault = _fault(tokens, match, compiled)
        if not fault:
            if _hedged(tokens, match, compiled):
                return JudgedText("unscored", f"several candidates, {match.alias.text} among them")
            return JudgedText("correct", match.alias.text)
        problem = problem or f"{fault}: {match.alias.text}"
    if abstains(tokens):
        return JudgedText("abstained", "no answer given")
    if 2 * len(tokens) > len(compiled.question) and join(tokens) in "".join(compiled.question):
        return JudgedText("unscored", "only repeats the question")
    return JudgedText("incorrect", problem or "no known answer in it")


@lru_cache(maxsize=20_000)
def _compile(question: Question) -> _Compiled:
    question_tokens = tokenize(question.text)
    asked = tuple(token.text for token in question_tokens)
    aliases: dict[str, _Alias] = {}
    for text in question.answers:
        tokens = tokenize(text)
        if len(tokens) > 1 and tokens[0].text in ("a", "an"):
            tokens = tokens[1:]
        if not tokens:
            continue
        words = [token.text for token in tokens]
        key = join(tokens)
        weak = (
            key in _STOPWORDS
            or all(word in _STOPWORDS for word in words)
            or (len(key) == 1 and key.isascii() and key.isalpha())
        )
        alias = _Alias(text, weak, weak and tokens[0].after_the, _contains(asked, words))
        if key not in aliases or (aliases[key].weak and alias.weak and not text.islower()):
            aliases[key] = alias
    is_choice = "or" in asked or _contains(asked, ["which", "1"]) or all(a.in_question for a in aliases.values())
    options = _options(question_tokens) if "or" in asked else _YES_NO if _YES_NO & aliases.keys() else frozenset()
    return _Compiled(aliases, max(map(len, aliases), default=0), asked, is_choice, options)


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


def _contains(words: tuple[str, ...], part: list[str]) -> bool:
    return any(list(words[n : n + len(part)]) == part for n in range(len(words) - len(part) + 1))


def _committed(tokens: list[Token], text: str) -> list[Token]:
    """The first sentence where it is a bare answer, else everything."""
    first = next((n for n, token in enumerate(tokens) if n and token.starts_sentence), len(tokens))
    if first == len(tokens):
        return tokens
    lead = LEAD_IN.match(text)
    skipped = tokenize(text[: lead.end()]) if lead else []
    if len(skipped) >= first:
        return tokens
    answer = tokens[len(skipped) : first]
    bare = len(answer) <= 6 and not any(token.text in _COPULAS for token in answer) and not abstains(tokens[:first])
    return tokens[:first] if bare else tokens


def _matches(tokens: list[Token], compiled: _Compiled) -> list[_Match]:
    """At each place the longest alias that starts there."""
    found = []
    for start in range(len(tokens)):
        joined, best = "", None
        for end in range(start, len(tokens)):
            joined = append(joined, tokens[end].text)
            if len(joined) > compiled.longest:
                break
            if (alias := compiled.aliases.get(joined)) is not None:
                best = _Match(start, end + 1, alias)
        if best is not None:
            found.append(best)
    return found


def _fault(tokens: list[Token], match: _Match, compiled: _Compiled) -> str:
    """Why the words at this place do not answer the question with this alias; empty where they do."""
    if match.alias.weak and not _stands_out(tokens, match):
        return "a common word, not the answer"
    if _other_name(tokens, match):
        return "part of another name"
    if _negated(tokens, match):
        return "negated"
    if _restated(tokens, match, compiled):
        return "restates the question"
    return ""


def _stands_out(tokens: list[Token], match: _Match) -> bool:
    """Whether an alias of common words or one letter ("US", "It", "C", "The Who") is written as the name it is."""
    start, end, alias = match
    first, after = tokens[start], tokens[end] if end < len(tokens) else None
    if first.raw.isdigit():
        return True
    if first.text in ("no", "1"):
        ends = after is None or after.starts_sentence or bool(_BREAKS.match(after.gap))
        return ends and (first.text == "1" or start == 0)
    if alias.needs_the and not first.after_the:
        return False
    raws = [token.raw for token in tokens[start:end]]
    shouts = all(raw.isupper() for raw in raws) and alias.text.upper() == alias.text
    if len("".join(raws)) == 1:
        last = after is None or after.starts_sentence
        return shouts and (last or first.text not in ("a", "i"))
    return (
        shouts
        or (all(raw[0].isupper() for raw in raws) and not first.starts_sentence)
        or (alias.needs_the and raws[0][0].isupper())
    )


def _other_name(tokens: list[Token], match: _Match) -> bool:
    """Whether the words belong to a longer name or date: "New Mexico", "Mexico City", "mother-in-law", "12 April"."""
    start, end, _ = match
    before = tokens[start - 1] if start else None
    after = tokens[end] if end < len(tokens) else None
    gap = tokens[start].gap
    if before is not None:
        if before.text in _OTHER_PLACE and before.raw[0].isupper() and gap in (" ", "-"):
            return True
        if before.text in _PREFIXES and gap == "-":
            return True
    if end - start == 1 and is_number(tokens[start].text) and len(tokens[start].text) <= 2:
        near = {token.text for token in (before, after) if token is not None}
        return bool(near & _MONTHS)
    if after is None:
        return False
    if after.gap == " " and after.raw == "City" and tokens[end - 1].text != "city":
        return True
    return after.gap == "-" and ((after.raw[0].isupper() and tokens[end - 1].raw[0].isupper()) or after.text == "in")


def _negated(tokens: list[Token], match: _Match) -> bool:
    """Whether a negation or comparison governs the words: "not Paris", "Paris is not", "I don't think it's Paris"."""
    start, end, _ = match
    tail = [token.text for token in tokens[end : end + 3] if not token.starts_sentence]
    if (
        len(tail) > 1
        and tail[1] == "not"
        and not _BREAKS.search(tokens[end].gap)
        and (len(tail) < 3 or tail[2] not in _NOT_NEGATING)
    ):
        return True
    if tail and tail[0] in ("wrong", "incorrect"):
        return True
    copula = broken = False
    for n in range(start - 1, max(-1, start - 16), -1):
        word = tokens[n].text
        broken = broken or bool(_BREAKS.search(tokens[n + 1].gap)) or word in _CONTRASTS
        if broken or tokens[n + 1].starts_sentence:
            return start > 1 and word in ("instead", "rather") and tokens[start - 1].text in ("of", "than")
        following = tokens[n + 1].text
        if word in _NEGATIONS and following not in _NOT_NEGATING and not (word == "no" and is_number(following)):
            doubted = bool({token.text for token in tokens[n:start]} & _DOUBTS)
            return doubted or (not copula and start - n <= 6)
        if word == "unsure":
            return True
        copula = copula or word in _COPULAS
    return False


def _restated(tokens: list[Token], match: _Match, compiled: _Compiled) -> bool:
    """Whether an alias that the question itself contains is only said back.

    Where the question offers a choice ("A or B?"), or no alias is free of it, the alias counts unless it stands in a
    longer run of the question's words.
    """
    start, end, alias = match
    if not alias.in_question:
        return False
    if not compiled.is_choice and not is_number(tokens[start].text):
        return True
    words = [token.text for token in tokens]
    before = start > 0 and words[start - 1] not in _COMMON and _contains(compiled.question, words[start - 1 : end])
    after = end < len(words) and words[end] not in _COMMON and _contains(compiled.question, words[start : end + 1])
    return before or after


def _hedged(tokens: list[Token], match: _Match, compiled: _Compiled) -> bool:
    """Whether the alias is one of several candidates: "Paris or London", "Mars, Venus, and Jupiter"."""
    start, end, _ = match
    others: list[Token] = []
    if end < len(tokens) and ((tokens[end].text == "or" and "(" not in tokens[end].gap) or tokens[end].gap == "/"):
        rest = tokens[end + (tokens[end].text == "or") :]
        others = [] if rest and rest[0].text in _NOT_NEGATING | {"so", "not"} else rest
    before = start - 1
    while before > 0 and tokens[before].text in _LEADS_TO_OR:
        before -= 1
    if before > 0 and tokens[before].text == "or":
        others = tokens[:before]
    elif start and tokens[start].gap == "/":
        others = tokens[:start]
    if others and not _matches(others, compiled):
        return True
    if _lists_options(tokens, compiled):
        return True
    gaps = [token.gap for token in tokens if "," in token.gap]
    alone = (start == 0 or "," in tokens[start].gap) and (end == len(tokens) or "," in tokens[end].gap)
    return alone and (len(gaps) >= 3 or (len(gaps) == 2 and "&" in gaps[1])) and len(tokens) <= 4 * (len(gaps) + 1)


def _lists_options(tokens: list[Token], compiled: _Compiled) -> bool:
    """Whether the reply is a list of several options of the question, wrong ones among them: "a bird, a fish"."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == "or" or _LISTS.search(token.gap):
            parts.append([])
        if token.text not in ("or", "a", "an"):
            parts[-1].append(token)
    named = [join(part) for part in parts if part]
    known = compiled.options | compiled.aliases.keys()
    if len(named) < 2 or not known.issuperset(named[1:]):
        return False
    first = max(0, len(parts[0]) - max(map(len, known)))  # every token has a letter: what is longer is not known
    last = next((key for n in range(first, len(parts[0])) if (key := join(parts[0][n:])) in known), "")
    return bool(last) and not compiled.aliases.keys() >= {last, *named[1:]}
