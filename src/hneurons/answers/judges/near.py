"""Where a reply says a known answer in other words: another form of a name, date, number or list."""

import re

from hneurons.answers.judges.dates import Date, compare_dates, read_dates
from hneurons.answers.judges.gold import Kind
from hneurons.answers.judges.matching import Compiled, Known, KnownWords, Match, contains
from hneurons.answers.judges.names import find_person
from hneurons.answers.judges.normalize import Token, is_number
from hneurons.answers.judges.numbers import is_rounded, read_numbers
from hneurons.core.types import Span


def find_near_matches(tokens: list[Token], compiled: Compiled) -> list[Match]:
    """Places that say a known answer in other words.

    A name with other middle names; the same date in another order or more precisely; the same number but for rounding;
    the items of a list in another order.
    """
    found: list[Match] = []
    dates = read_dates(tokens) if any(answer.is_date for answer in compiled.answers) else []
    for answer in compiled.answers:
        by_kind: tuple[tuple[Kind, list[Span]], ...] = (
            ("name", _person_places(answer, tokens)),
            ("date", _date_places(answer, dates)),
            ("number", _number_places(answer, tokens)),
            ("list", _list_places(answer, tokens)),
        )
        for kind, places in by_kind:
            if not places:
                continue
            in_question = contains(compiled.question, [token.text for token in answer.tokens])
            form = Known(answer.text, kind, False, False, in_question)
            found += [Match(start, end, form) for start, end in places]
    return found


def _person_places(answer: KnownWords, tokens: list[Token]) -> list[Span]:
    place = find_person(answer.tokens, tokens) if answer.is_name else None
    return [place] if place is not None else []


def _date_places(answer: KnownWords, dates: list[Date]) -> list[Span]:
    if not answer.is_date:
        return []
    return [(d.start, d.end) for d in dates if compare_dates(answer.dates[0], d) in ("same", "finer")]


def _number_places(answer: KnownWords, tokens: list[Token]) -> list[Span]:
    if answer.is_date or len(answer.numbers) != 1 or not is_number(answer.tokens[0].text):
        return []
    if answer.tokens[0].text[-1].isalpha():  # an ordinal is no count
        return []
    places = []
    for n, token in enumerate(tokens):
        if is_number(token.text) and not token.text.endswith(("st", "nd", "rd", "th")):
            number = read_numbers(tokens[n : n + 2])
            if number and is_rounded(answer.numbers[0], number[0]):
                places.append((n, n + 1))
    return places


def _list_places(answer: KnownWords, tokens: list[Token]) -> list[Span]:
    """Where all items of a known list stand, in any order and with no other item between."""
    if len(answer.items) < 2:
        return []
    places = []
    for item in answer.items:
        size = len(item)
        at = next((n for n in range(len(tokens)) if tuple(t.text for t in tokens[n : n + size]) == item), -1)
        if at < 0:
            return []
        places.append((at, at + size))
    start, end = min(places)[0], max(end for _, end in places)
    parts = 1 + sum(bool(re.search("[,;/&\\n]", token.gap)) or token.text == "or" for token in tokens[start + 1 : end])
    return [(start, end)] if parts <= len(places) and end - start <= 8 * len(places) else []
