"""Replies that offer several candidates and commit to none."""

import re

from hneurons.answers.judges.faults import NOT_NEGATING
from hneurons.answers.judges.matching import Compiled, Match, find_matches
from hneurons.answers.judges.normalize import Token, join, word_set

_LEADS_TO_OR = word_set("either maybe possibly perhaps probably likely even a an it is in")
_LISTS = re.compile("[,;/&]")
_ITEM = re.compile(r"(?:^|\n|(?<=[:;.,]\s))[ \t]*(?:\(?\d{1,2}[.)]|[-*•–])[ \t]+(?=\S)|(?<=\s)\(?\d{1,2}\)\s+(?=\S)")
_SEVERAL = re.compile(
    r"\b(?:are|were|(?:two|three|four|five|six|seven|eight|nine|ten|[2-9]|all|both)\s\w+"
    r"|list|members|names|types|kinds)\b",
    re.IGNORECASE,
)


def is_one_of_several(tokens: list[Token], match: Match, compiled: Compiled) -> bool:
    """Whether the known answer is one of several candidates: "Paris or London", "Mars, Venus, and Jupiter"."""
    start, end, _ = match
    others: list[Token] = []
    if end < len(tokens) and ((tokens[end].text == "or" and "(" not in tokens[end].gap) or tokens[end].gap == "/"):
        rest = tokens[end + (tokens[end].text == "or") :]
        others = [] if rest and rest[0].text in NOT_NEGATING | {"so", "not"} else rest
    before = start - 1
    while before > 0 and tokens[before].text in _LEADS_TO_OR:
        before -= 1
    if before > 0 and tokens[before].text == "or":
        others = tokens[:before]
    elif start and tokens[start].gap == "/":
        others = tokens[:start]
    if others and not find_matches(others, compiled):
        return True
    if _lists_options(tokens, compiled):
        return True
    gaps = [token.gap for token in tokens if "," in token.gap]
    alone = (start == 0 or "," in tokens[start].gap) and (end == len(tokens) or "," in tokens[end].gap)
    return alone and (len(gaps) >= 3 or (len(gaps) == 2 and "&" in gaps[1])) and len(tokens) <= 4 * (len(gaps) + 1)


def _lists_options(tokens: list[Token], compiled: Compiled) -> bool:
    """Whether the reply is a list of several options of the question, wrong ones among them: "a bird, a fish"."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == "or" or _LISTS.search(token.gap):
            parts.append([])
        if token.text not in ("or", "a", "an"):
            parts[-1].append(token)
    named = [join(part) for part in parts if part]
    known = compiled.options | compiled.known.keys()
    if len(named) < 2 or not known.issuperset(named[1:]):
        return False
    first = max(0, len(parts[0]) - max(map(len, known)))  # every token has a letter: what is longer is not known
    last = next((key for n in range(first, len(parts[0])) if (key := join(parts[0][n:])) in known), "")
    return bool(last) and not compiled.known.keys() >= {last, *named[1:]}


def list_items(text: str) -> list[str]:
    """The items of a numbered or bulleted list in a reply; empty where there are fewer than two."""
    marks = list(_ITEM.finditer(text))
    if len(marks) < 2:
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]


def asks_for_several(question: str) -> bool:
    """Whether a question wants more than one thing: "Which four countries ...", "What are the types of ..."."""
    return _SEVERAL.search(question) is not None
