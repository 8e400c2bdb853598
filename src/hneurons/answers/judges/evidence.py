"""What a reply says for and against being right, as numbers: the features of the calibrated probability."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from rapidfuzz import fuzz

from hneurons.answers.asked_kind import KINDS, asked_kind
from hneurons.answers.judges.candidates import asks_for_several, is_one_of_several, list_items
from hneurons.answers.judges.dates import compare_dates, read_dates
from hneurons.answers.judges.faults import find_fault
from hneurons.answers.judges.matching import (
    CONTENT_STOP,
    STOPWORDS,
    Compiled,
    KnownWords,
    Match,
    compile_question,
    find_matches,
)
from hneurons.answers.judges.names import find_person, same_word
from hneurons.answers.judges.near import find_near_matches
from hneurons.answers.judges.normalize import Token, tokenize
from hneurons.answers.judges.numbers import is_rounded, read_numbers
from hneurons.core.types import Question

_MAX_TOKENS = 160
_KINDS = ("exact", "form", "name", "part", "date", "number", "list")
_HEDGES = re.compile(
    r"\b(?:may|might|possibly|perhaps|probably|likely|unclear|not sure|however|various|several|depends|varies|multiple"
    r"|generally|often|typically|some|not specified|as of|up to date|real-time)\b",
    re.IGNORECASE,
)
_SILENT = re.compile(
    r"\b(?:as an ai|language model|i (?:do not|don['’]t|cannot|can['’]t|could ?n['’]t)|i['’]m (?:not|sorry|unable)"
    r"|sorry|no (?:specific|known|clear)|not (?:known|clear|mentioned|available|specified))\b",
    re.IGNORECASE,
)


class Evidence(NamedTuple):
    """The features of a reply by name, in order, and the known answer found in it, if any without fault."""

    values: tuple[float, ...]
    match: Match | None
    fault: str
    several: bool


def collect_evidence(question: Question, text: str, tokens: list[Token], span: list[Token]) -> Evidence:
    """The features of one reply; `span` are the tokens of its located answer."""
    compiled = compile_question(question)
    places = find_places(tokens, compiled)
    best, fault = _best_match(places)
    several = best is not None and is_one_of_several(tokens, best, compiled)
    values = _features(question, text, tokens, span, compiled, places, best, fault, several)
    return Evidence(tuple(values.values()), best, fault, several)


def _features(
    question: Question,
    text: str,
    tokens: list[Token],
    span: list[Token],
    compiled: Compiled,
    places: list[tuple[Match, str]],
    best: Match | None,
    fault: str,
    several: bool,
) -> dict[str, float]:
    known, in_span = compiled.answers, find_places(span, compiled)
    near = len({match.known.text for match, wrong in places if not wrong})
    said = any(not wrong for _, wrong in in_span)
    counted, span_counted = _without_faults(tokens, places)[:_MAX_TOKENS], _without_faults(span, in_span)
    values = {
        **_question_features(question, compiled, known),
        **_reply_features(text, tokens, span, compiled),
        **_match_features(tokens, best, fault, several, said, near, compiled, len(question.answers)),
        **_overlap_features(counted, span_counted, compiled, known),
        **_value_features(counted, span_counted, known),
    }
    return {**values, **_joint_features(values)}


def feature_names() -> tuple[str, ...]:
    """The names of the features, in order."""
    question, tokens = Question("", "x", ("x",)), tokenize("x")
    compiled = compile_question(question)
    return tuple(_features(question, "x", tokens, tokens, compiled, [], None, "", False))


def says_known(tokens: list[Token], compiled: Compiled) -> bool:
    """Whether a stretch says a known answer in any of its forms."""
    return bool(find_matches(tokens, compiled) or find_near_matches(tokens, compiled))


def find_places(tokens: list[Token], compiled: Compiled) -> list[tuple[Match, str]]:
    """Every place that says a known answer, with its fault."""
    places = [*find_matches(tokens, compiled), *find_near_matches(tokens, compiled)]
    return [(match, find_fault(tokens, match, compiled)) for match in places]


def _without_faults(tokens: list[Token], places: list[tuple[Match, str]]) -> list[Token]:
    """The tokens outside places that say a known answer but do not count."""
    faulty = {n for match, fault in places if fault for n in range(match.start, match.end)}
    sound = {n for match, fault in places if not fault for n in range(match.start, match.end)}
    return [token for n, token in enumerate(tokens) if n not in faulty - sound] if faulty else tokens


def _best_match(places: list[tuple[Match, str]]) -> tuple[Match | None, str]:
    """The best place without fault, and the first fault."""
    best: Match | None = None
    first = ""
    for match, fault in places:
        if fault:
            first = first or fault
        elif best is None or _KINDS.index(match.known.kind) < _KINDS.index(best.known.kind):
            best = match
    return best, first


def _question_features(question: Question, compiled: Compiled, known: Sequence[KnownWords]) -> dict[str, float]:
    asked = asked_kind(question.text)
    lengths = [len(words.tokens) for words in known] or [0]
    answers = question.answers or ("",)
    values = {f"asks_{kind}": float(asked == kind) for kind, _ in KINDS}
    return values | {
        "asks_choice": float(compiled.is_choice),
        "asks_several": float(asks_for_several(question.text)),
        "question_words": float(len(compiled.question)),
        "answers": math.log1p(len(answers)),
        "shortest_answer": float(min(lengths)),
        "longest_answer": float(max(lengths)),
        "answers_in_capitals": sum(a[:1].isupper() for a in answers) / len(answers),
        "answers_with_numbers": sum(bool(words.numbers) for words in known) / max(1, len(known)),
        "answers_with_dates": sum(bool(words.dates) for words in known) / max(1, len(known)),
        "answers_as_names": sum(words.is_name for words in known) / max(1, len(known)),
        "answer_words_in_question": min(
            (
                sum(w in compiled.question for w in words.content) / len(words.content)
                for words in known
                if words.content
            ),
            default=0.0,
        ),
    }


def _reply_features(text: str, tokens: list[Token], span: list[Token], compiled: Compiled) -> dict[str, float]:
    asked = set(compiled.question)
    capitals = [t for t in tokens if t.raw[:1].isupper() and t.text not in asked and t.text not in STOPWORDS]
    return {
        "reply_words": math.log1p(len(tokens)),
        "reply_sentences": float(min(9, sum(token.starts_sentence for token in tokens))),
        "span_words": float(min(30, len(span))),
        "capital_words": math.log1p(len(capitals)),
        "hedges": float(min(5, len(_HEDGES.findall(text[:1500])))),
        "says_it_cannot": float(bool(_SILENT.search(text[:1500]))),
        "list_items": float(min(12, len(list_items(text[:1500])))),
        "question_said_back": sum(t.text in asked for t in tokens) / max(1, len(tokens)),
        "question_covered": len(asked & {t.text for t in tokens}) / max(1, len(asked)),
    }


def _match_features(
    tokens: list[Token],
    best: Match | None,
    fault: str,
    several: bool,
    in_span: bool,
    near: int,
    compiled: Compiled,
    answers: int,
) -> dict[str, float]:
    start = best.start if best is not None else len(tokens)
    sentence = sum(token.starts_sentence for token in tokens[1 : start + 1])
    return {
        **{f"match_{kind}": float(best is not None and best.known.kind == kind) for kind in _KINDS},
        "match_words": float(best.end - best.start) if best is not None else 0.0,
        "match_place": math.log1p(start) if best is not None else -1.0,
        "match_sentence": float(min(6, sentence)) if best is not None else -1.0,
        "match_share": (best.end - best.start) / len(tokens) if best is not None else 0.0,
        "match_in_span": float(in_span),
        "match_of_several": float(several),
        "match_in_longer_name": float(best is not None and in_longer_name(tokens, best, compiled)),
        "answers_matched": near / max(1, answers),
        **{
            f"fault_{name}": float(best is None and fault == words)
            for name, words in (
                ("negated", "negated"), ("name", "part of another name"), ("restated", "restates the question"),
                ("common", "a common word, not the answer"), ("others", "what others say"),
            )
        },
    }  # fmt: skip


def in_longer_name(tokens: list[Token], match: Match, compiled: Compiled) -> bool:
    """Whether a single known word follows a capital that neither question nor answers say: "Denzel Washington"."""
    start, end, _ = match
    if end - start != 1 or start == 0 or tokens[start].gap != " " or len(tokens[start].text) < 3:
        return False
    before = tokens[start - 1]
    return (
        tokens[start].raw[:1].isupper()
        and before.raw[:1].isupper()
        and before.raw.isalpha()
        and before.text not in compiled.words
        and before.text not in compiled.question
        and before.text not in STOPWORDS
    )


def _overlap_features(
    tokens: list[Token], span: list[Token], compiled: Compiled, known: Sequence[KnownWords]
) -> dict[str, float]:
    """How many of a known answer's words the reply says, the best known answer counting."""
    said = {token.text for token in tokens}
    span_said = {token.text for token in span}
    span_content = [t.text for t in span if t.text not in CONTENT_STOP and t.text not in compiled.question]
    cache: dict[str, bool] = {}

    def has(word: str) -> bool:
        if word not in cache:
            cache[word] = word in said or any(same_word(word, other) for other in said)
        return cache[word]

    recall = novel = in_span = exact = last = precision = person = acronym = 0.0
    for words in known:
        if not words.content:
            continue
        hits = [has(word) for word in words.content]
        recall = max(recall, sum(hits) / len(hits))
        novel = max(novel, sum(map(has, words.novel)) / len(words.novel))
        exact = max(exact, sum(word in said for word in words.novel) / len(words.novel))
        last = max(last, float(has(words.content[-1]) and words.content[-1] not in compiled.question))
        in_span = max(in_span, sum(word in span_said for word in words.novel) / len(words.novel))
        if span_content:
            inside = sum(any(same_word(w, k) for k in words.content) for w in span_content)
            precision = max(precision, inside / len(span_content))
        if words.is_name:
            person = max(person, float(find_person(words.tokens, tokens) is not None))
        if len(words.content) >= 2:
            letters = "".join(token.text[0] for token in words.tokens)
            acronym = max(acronym, float(any(t.text == letters and t.raw.isupper() for t in tokens)))
        elif words.tokens[0].raw.isupper() and 2 <= len(words.plain) <= 6:
            acronym = max(acronym, float(_initials_spell(words.plain, tokens)))
    spelled = [words for words in known if not words.numbers and words.content]
    reply_plain = " ".join(token.text for token in tokens)
    span_plain = " ".join(token.text for token in span)
    partial = max((fuzz.partial_ratio(w.plain, reply_plain) for w in spelled if len(w.plain) > 3), default=0.0)
    return {
        "recall": recall,
        "recall_new_words": novel,
        "recall_exact_words": exact,
        "recall_in_span": in_span,
        "last_word": last,
        "span_precision": precision,
        "person": person,
        "acronym": acronym,
        "partial_ratio": _likeness(partial),
        "span_ratio": _likeness(max((fuzz.ratio(w.plain, span_plain) for w in spelled), default=0.0)),
        "span_token_ratio": _likeness(max((fuzz.token_sort_ratio(w.plain, span_plain) for w in spelled), default=0.0)),
        "span_partial": _likeness(
            max((fuzz.partial_ratio(w.plain, span_plain) for w in spelled if len(w.plain) > 3), default=0.0)
        ),
    }  # fmt: skip


def _likeness(ratio: float) -> float:
    """A ratio of rapidfuzz as likeness from 0 to 1; below 60 of 100 two words are merely both words."""
    return max(0.0, ratio - 60) / 40


def _joint_features(values: dict[str, float]) -> dict[str, float]:
    """Features that say something only together: a short reply that shares nothing with a short known answer."""
    apart = float(values["recall_new_words"] == 0 and values["partial_ratio"] < 0.25)
    short_reply = float(values["span_words"] <= 4)
    short_answer = float(values["longest_answer"] <= 3)
    no_date = values["date_other"] * (1 - max(values["date_same"], values["date_finer"], values["date_coarser"]))
    bare = float(values["reply_words"] < math.log1p(8))
    numbers_differ = values["numbers_wanted"] * float(values["numbers_found"] > 0) * (1 - values["number_equal"])
    return {
        "apart": apart,
        "apart_short_reply": apart * short_reply,
        "apart_short_answer": apart * short_answer,
        "apart_both_short": apart * short_reply * short_answer,
        "apart_both_short_where": apart * short_reply * short_answer * values["asks_where"],
        "apart_long_answer": apart * float(values["shortest_answer"] >= 4),
        "apart_bare_reply": apart * bare,
        "apart_names": apart * values["answers_as_names"],
        "half_shared": float(values["recall_new_words"] >= 0.5),
        "dates_differ": no_date * values["asks_when"],
        "numbers_differ": numbers_differ,
        "numbers_differ_bare": numbers_differ * bare * short_answer * (1 - values["number_rounded"]),
    }


def _initials_spell(letters: str, tokens: Sequence[Token]) -> bool:
    initials = "".join(token.text[0] for token in tokens)
    return letters in initials


def _value_features(tokens: list[Token], span: list[Token], known: Sequence[KnownWords]) -> dict[str, float]:
    """How the reply's dates and numbers relate to the known ones."""
    dates = read_dates(tokens) if any(words.dates for words in known) else []
    numbers = read_numbers(tokens)
    relations = {compare_dates(mine, theirs) for words in known for mine in words.dates for theirs in dates}
    wanted = [number for words in known for number in words.numbers]
    equal = any(number in numbers for number in wanted)
    rounded = any(is_rounded(mine, theirs) for mine in wanted[:30] for theirs in numbers[:30])
    ratio = min((abs(math.log((1 + abs(a)) / (1 + abs(b)))) for a in wanted[:30] for b in numbers[:30]), default=9.0)
    years = [date.year for words in known for date in words.dates if date.year]
    found_years = [date.year for date in dates if date.year]
    apart = min((abs(a - b) for a in years for b in found_years), default=99)
    return {
        **{f"date_{name}": float(name in relations) for name in ("same", "finer", "coarser", "other")},
        "years_apart": math.log1p(min(apart, 99)),
        "number_equal": float(equal),
        "number_rounded": float(rounded),
        "number_ratio": min(ratio, 9.0),
        "numbers_wanted": float(bool(wanted)),
        "numbers_found": float(min(6, len(numbers))),
        "span_has_number": float(any(token.text[:1].isdigit() for token in span)),
        "span_has_capital": float(any(token.raw[:1].isupper() for token in span[1:])),
    }
