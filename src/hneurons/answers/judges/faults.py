"""Why words that say a known answer may not answer the question."""

import re

from hneurons.answers.judges.matching import STOPWORDS, Compiled, Match, contains
from hneurons.answers.judges.normalize import Token, is_number, word_set

_OTHER_PLACE = word_set("new north south east west equatorial papua vice")
_PREFIXES = word_set("step non anti semi ex half co sub mid pre post un counter pseudo neo great")
_MONTHS = word_set("january february march april may june july august september october november december")
_BREAKS = re.compile(r"[,;:—–()]|\s-\s")
_NEGATIONS = word_set("not never neither nor without no unlike than except besides excluding")
_COPULAS = word_set("is was are were am be being been called named")
_CONTRASTS = word_set("but however though although rather instead")
NOT_NEGATING = word_set("only until till just doubt longer later less more fewer surprisingly")
_DOUBTS = word_set("think believe know sure certain suppose say recall confirm unsure information evidence record idea")
_OPINIONS = word_set(
    "say says said think thinks thought believe believes believed assume assumed claim claims guess call"
)
_PAST_OPINIONS = word_set("thought believed assumed")
_CROWD = word_set(
    "many some most people others often commonly popularly widely frequently mistakenly everyone sometimes"
)
_TURNS = word_set("but however although though while whereas actually yet despite contrary fact")
_CURRENCY = re.compile("[$€£¥₹₩₽₱]")
_COMMON = STOPWORDS - {"or"}


def find_fault(tokens: list[Token], match: Match, compiled: Compiled) -> str:
    """Why the words at this place do not answer the question with this known answer; empty where they do."""
    if match.known.weak and not _stands_out(tokens, match):
        return "a common word, not the answer"
    if _other_name(tokens, match):
        return "part of another name"
    if _negated(tokens, match):
        return "negated"
    if _said_of_others(tokens, match):
        return "what others say"
    if other_unit(tokens, match):
        return "another unit"
    if _restated(tokens, match, compiled):
        return "restates the question"
    return ""


def _stands_out(tokens: list[Token], match: Match) -> bool:
    """Whether an alias of common words or one letter ("US", "It", "C", "The Who") is written as the name it is."""
    start, end, known = match
    first, after = tokens[start], tokens[end] if end < len(tokens) else None
    if first.raw.isdigit():
        return True
    if first.text in ("no", "1"):
        ends = after is None or after.starts_sentence or bool(_BREAKS.match(after.gap))
        return ends and (first.text == "1" or start == 0)
    if known.needs_the and not first.after_the:
        return False
    raws = [token.raw for token in tokens[start:end]]
    shouts = all(raw.isupper() for raw in raws) and known.text.upper() == known.text
    if len("".join(raws)) == 1:
        last = after is None or after.starts_sentence
        return shouts and (last or first.text not in ("a", "i"))
    return (
        shouts
        or (all(raw[0].isupper() for raw in raws) and not first.starts_sentence)
        or (known.needs_the and raws[0][0].isupper())
    )


def _other_name(tokens: list[Token], match: Match) -> bool:
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


def _negated(tokens: list[Token], match: Match) -> bool:
    """Whether a negation or comparison governs the words: "not Paris", "Paris is not", "I don't think it's Paris"."""
    start, end, _ = match
    tail = [token.text for token in tokens[end : end + 3] if not token.starts_sentence]
    if (
        len(tail) > 1
        and tail[1] == "not"
        and not _BREAKS.search(tokens[end].gap)
        and (len(tail) < 3 or tail[2] not in NOT_NEGATING)
    ):
        return True
    if tail and tail[0] in ("wrong", "incorrect"):
        return True
    if end < len(tokens) and "?" in tokens[end].gap and tokens[end].text in ("no", "not", "nope", "wrong"):
        return True
    copula = broken = False
    for n in range(start - 1, max(-1, start - 16), -1):
        word = tokens[n].text
        broken = broken or bool(_BREAKS.search(tokens[n + 1].gap)) or word in _CONTRASTS
        if broken or tokens[n + 1].starts_sentence:
            return start > 1 and word in ("instead", "rather") and tokens[start - 1].text in ("of", "than")
        following = tokens[n + 1].text
        if word in _NEGATIONS and following not in NOT_NEGATING and not (word == "no" and is_number(following)):
            doubted = bool({token.text for token in tokens[n:start]} & _DOUBTS)
            return doubted or (not copula and start - n <= 6)
        if word == "unsure":
            return True
        copula = copula or word in _COPULAS
    return False


def _restated(tokens: list[Token], match: Match, compiled: Compiled) -> bool:
    """Whether an alias that the question itself contains is only said back.

    Where the question offers a choice ("A or B?"), or no alias is free of it, the alias counts unless it stands in a
    longer run of the question's words.
    """
    start, end, known = match
    if not known.in_question:
        return False
    if not compiled.is_choice and not is_number(tokens[start].text):
        return True
    words = [token.text for token in tokens]
    before = start > 0 and words[start - 1] not in _COMMON and contains(compiled.question, words[start - 1 : end])
    after = end < len(words) and words[end] not in _COMMON and contains(compiled.question, words[start : end + 1])
    return before or after


def _said_of_others(tokens: list[Token], match: Match) -> bool:
    """Whether the reply says that others name this answer: "many think of Paris, but", "often confused with Paris"."""
    first = match.start
    while first > 0 and not tokens[first].starts_sentence and match.start - first < 14:
        first -= 1
    last = match.end
    while last < len(tokens) and not tokens[last].starts_sentence:
        last += 1
    before = [token.text for token in tokens[first : match.start]]
    if {"confused", "mistaken"} & set(before[-4:]):
        return True
    opinion = next((n for n in range(len(before) - 1, -1, -1) if before[n] in _OPINIONS), -1)
    doubted = opinion > 0 and before[opinion - 1] in ("i", "we") and before[opinion] in _PAST_OPINIONS
    if opinion < 0 or not (doubted or _CROWD & set(before[max(0, opinion - 5) : opinion + 3])):
        return False
    around = before[:opinion] + [token.text for token in tokens[match.end : last]]
    return bool(_TURNS & set(around))


def other_unit(tokens: list[Token], match: Match) -> bool:
    """Whether the words carry another currency than the known answer: "€5" for $5."""
    wanted = _CURRENCY.search(match.known.text)
    found = _CURRENCY.search(tokens[match.start].gap[-2:])
    return wanted is not None and found is not None and wanted.group() != found.group()
