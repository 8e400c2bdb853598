"""Where the short answer stands in a reply, in characters.

The `response` finder sees the reply and the question, never the known answers or the verdict. Right and wrong answers
are therefore cut alike. A finder that searched for the known answers would find spans only in right replies, and so
leak the label.

The first sentences that say something are read in turn. In each, the likeliest places are tried in this order:

1. the complement of the verb whose subject restates the question;
2. the subject, where the rest restates the question;
3. the first clause;
4. the first date, number or name that is new.

A place counts where it says something new, is short, and fits what is asked. Where none does, the first sentence is the
answer.
"""

import re
from collections.abc import Iterator

from hneurons.answers.asked_kind import AskedKind, asked_kind
from hneurons.answers.chunks import content_words, find_chunks, fits, is_new
from hneurons.answers.clauses import (
    ABBREVIATION,
    ADVERBIAL,
    CLAUSE_END,
    COMMON_SUBJECT,
    LEAD_IN,
    OPTIONS,
    PARTICIPLE,
    PASSIVE,
    PREAMBLE,
    PREDICATE,
    SENTENCE_END,
    SUBJECT,
    VERB,
    YES_NO,
    YES_NO_QUESTION,
)
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.core.types import Span

VERSION = 2
"""Counts changes of the rules that can move a span; stored with results."""

MAX_CHARS = 80
"""A longer stretch is no short answer: it is taken only where nothing shorter is found."""

_MAX_SENTENCE = 600
_SENTENCES = 3
_OPENING = " \t\n,\"'“”‘’*_`([{«»「『"
_CLOSING = _OPENING + ".,;:!?)]}。！？；」』、，"


def find_answer(text: str, *, question: str = "") -> Span | None:
    """The characters of the answer in a reply; None where the reply has no letter, digit or sign.

    Left out: reasoning, lead-ins ("Sure!", "The answer is", "It's"), a restated question ("The capital of France is"),
    quotes, markup, trailing punctuation, and everything after the first clause. With the question's text, words that
    only restate it are never taken for the answer. A deviation from the paper (arXiv 2512.01797, section 2), which asks
    a language model to extract the answer: that is the `llm` finder.
    """
    reply = cut_reasoning(text)
    if YES_NO_QUESTION.match(question) and (word := YES_NO.match(reply.text)):
        return word.start(1) + reply.start, word.end(1) + reply.start
    span = _find(reply.text, _asked_words(question), asked_kind(question))
    return (span[0] + reply.start, span[1] + reply.start) if span else None


def _asked_words(question: str) -> frozenset[str]:
    """The question's content words, without those that it offers to choose from ("Mozart or Beethoven")."""
    offered = {word for pair in OPTIONS.findall(question.casefold()) for word in pair}
    return frozenset(content_words(question)) - offered


def _find(text: str, asked: frozenset[str], kind: AskedKind) -> Span | None:
    longer: Span | None = None
    for start, end in _sentences(text, asked):
        for first, last in _places(text, start, end, asked, kind):
            span = _trim(text, first, last)
            if span is None or (asked and not is_new(text[slice(*span)], asked) and _says_words(text[slice(*span)])):
                continue
            if span[1] - span[0] <= MAX_CHARS and fits(text[slice(*span)], kind):
                return span
            longer = longer or span
    return longer or _whole(text, asked)


def _says_words(text: str) -> bool:
    """Whether a stretch has several words, or words at all that could restate a question."""
    return len(text.split()) > 1


def _whole(text: str, asked: frozenset[str]) -> Span | None:
    """The first sentence, whatever it says; None where it is most of the question and nothing else."""
    start = _lead_in(text, 0)
    span = _trim(text, start, _sentence_end(text, start)) or _trim(text, 0, len(text))
    if span is None or not asked:
        return span
    said = asked.intersection(content_words(text[slice(*span)]))
    return None if not is_new(text, asked) and len(said) > max(1, len(asked) / 2) else span


def _sentences(text: str, asked: frozenset[str]) -> Iterator[Span]:
    """The first sentences that say something, without lead-in; preambles ("As an AI model, ...") are skipped."""
    start = found = 0
    while start < len(text) and found < _SENTENCES:
        if preamble := PREAMBLE.match(text, start):
            start = preamble.end()
            continue
        begin = _lead_in(text, start)
        end = _sentence_end(text, begin)
        if asked and (heading := _heading(text, begin, end, asked)):
            begin = _lead_in(text, heading)
            end = _sentence_end(text, begin)
        if _trim(text, begin, end) is not None:
            found += 1
            yield begin, end
        start = max(end + 1, start + 1)
        while start < len(text) and text[start] in _CLOSING:
            start += 1


def _heading(text: str, start: int, end: int, asked: frozenset[str]) -> int:
    """Where a heading that restates the question ends ("Union Station Location: ..."); 0 where there is none."""
    colon = text.find(":", start, min(end, start + 150))
    if colon < 0 or not text[colon + 1 : end].strip():
        return 0
    return colon + 1 if _cover(text[start:colon], asked) > 0.5 else 0


def _cover(text: str, asked: frozenset[str]) -> float:
    """The share of a stretch's content words that the question says too."""
    words = content_words(text)
    return sum(word in asked for word in words) / len(words) if words else 0.0


def _places(text: str, start: int, end: int, asked: frozenset[str], kind: AskedKind) -> Iterator[Span]:
    """Where the answer may stand in a sentence, the likeliest first."""
    end = min(end, start + _MAX_SENTENCE)
    if asked and kind not in ("when", "where") and (opening := ADVERBIAL.match(text, start, end)):
        yield from _places(text, opening.end(), end, asked, kind)
    clause_end = _clause_end(text, start, end)
    clause = text[start:clause_end]
    if start and (part := PARTICIPLE.match(clause)):
        yield start + part.start("answer"), clause_end
    if asked:
        yield from _around_verbs(text, start, end, asked, kind)
    if part := PASSIVE.match(clause):
        yield start + part.start("answer"), clause_end
    predicate = PREDICATE.match(clause)
    if predicate and (_cover(predicate["subject"], asked) > 0.5 or COMMON_SUBJECT.match(clause)):
        yield start + predicate.start("answer"), clause_end
    if part := SUBJECT.match(clause):
        yield start, start + part.end("answer")
    if clause_end - start <= MAX_CHARS:
        yield start, clause_end
    if asked:
        yield from find_chunks(text, start, end, kind, asked)
    yield start, clause_end


def _around_verbs(text: str, start: int, end: int, asked: frozenset[str], kind: AskedKind) -> Iterator[Span]:
    """The complement of a verb whose subject restates the question, or the subject where the complement does."""
    for verb in VERB.finditer(text, start, end):
        subject, after = text[start : verb.start()], verb.end()
        if not content_words(subject):
            continue
        last = _clause_end(text, after, end)
        complement = text[after:last]
        if _cover(subject, asked) >= 0.5:
            if not is_new(complement, asked):
                continue
            if last - after <= MAX_CHARS:
                yield after, last
            else:
                yield from find_chunks(text, after, last, kind, asked)
        elif verb.start() - start <= MAX_CHARS and "," not in subject and _cover(complement, asked) > 0.5:
            yield start, verb.start()
            return


def _trim(text: str, start: int, end: int) -> Span | None:
    """The span without quotes, markup and punctuation at its ends; None where nothing is left."""
    while start < end and (text[start] in _OPENING or text[start].isspace()):
        start += 1
    while end > start and (text[end - 1] in _CLOSING or text[end - 1].isspace()):
        if (
            text[end - 1] == "."
            and "." in text[start : end - 1]
            and ABBREVIATION.search(text[max(start, end - 12) : end - 1])
        ):
            break
        end -= 1
    meant = any(character.isalnum() or ord(character) > 0x2000 for character in text[start:end])
    return (start, end) if meant else None


def _lead_in(text: str, start: int) -> int:
    """Where the lead-in ends; a lead-in with nothing after it is itself the answer ("Yes", "It was")."""
    match = LEAD_IN.match(text, start)
    end = match.end() if match else start
    if text[end : end + 200].strip(_CLOSING):
        return end
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _sentence_end(text: str, start: int) -> int:
    return _first_end(SENTENCE_END, text, start, len(text))


def _clause_end(text: str, start: int, end: int) -> int:
    return _first_end(CLAUSE_END, text, start, end)


def _first_end(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    """Where the first end of a clause or sentence is that comes after words and is no abbreviation's full stop."""
    for match in pattern.finditer(text, start, end):
        if text.count("“", start, match.start()) > text.count("”", start, match.start()):
            continue  # inside quotation marks
        before = text[max(start, match.start() - 12) : match.start()]
        if not before.strip(_OPENING) and not text[start : match.start()].strip(_OPENING):
            continue
        if match.group() == "." and ABBREVIATION.search(before) and text[match.end() : match.end() + 50].strip():
            continue
        return match.start()
    return end
