"""Where the short answer stands in a reply, in characters and in tokens.

The `response` finder sees the reply and the question, never the known answers or the verdict, so right and wrong
answers are cut alike. A finder that searched for the known answers would find spans only in right replies, and so leak
the label. Tokens are found from the generated ids, not from token strings, so apostrophes, CJK and emoji are exact.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from hneurons.core.errors import InputError
from hneurons.core.types import Span

VERSION = 1
"""Counts changes of the rules that can move a span; stored with results."""

MAX_CHARS = 80
"""A longer clause is no short answer: not found."""

LEAD_IN = re.compile(
    r"""\s*(?:[-*•>]+\s+|\d{1,2}[.)]\s+)?[*_"“]*
    (?:(?:sure|certainly|of\ course|absolutely|(?:that's\ an?\ )?(?:great|good|excellent)\ question|okay|ok|yes|well|hmm
        |thank\ you|thanks)\b[^.!:,\n]{0,24}[.!:,]+\s+)*
    (?:here(?:['’]s|\ is|\ are)\b[^:\n]{0,60}:\s*)?
    (?:[*_]*(?:(?:the\ |my\ )?(?:short\ |final\ |correct\ |best\ )?answer|a|response)[*_]*\s*:[*_]*\s*)?
    (?:i(?:['’]m|\ am)\ (?:not\ |fairly\ |pretty\ )?(?:sure|confident|certain)\b,?\ (?:but\ )?(?:that\ )?)?
    (?:(?:i\ (?:would\ |['’]d\ |do\ )?(?:think|believe|guess|suspect|say|assume|know)(?:\ that)?
        |my\ (?:best\ )?guess\ (?:is|would\ be)|probably|possibly|perhaps|maybe|most\ likely|actually
        |based\ on\ [^,\n]{1,60}),?\s+)*
    (?:(?:the\ |my\ )?(?:(?:correct|right|final|short|best|most\ likely|only)\ )*answer
         (?:\ to\ (?:your|the|this|that)\ question)?\s+(?:is|was|would\ be|should\ be)(?:\ that)?\s*[:,]?\s*
      |(?:it|that|this|he|she|they|these|those)
         (?:['’]s|['’]re|\ (?:is|was|are|were|would\ be|must\ be|might\ be|could\ be|may\ be))\s+
         (?:(?:probably|likely|actually|most\ likely)\s+)?(?:(?:called|named|known\ as)\s+)?
      |答案是?\s*[:：]?\s*|答えは\s*[:：]?\s*)?
    [*_"“]*""",
    re.VERBOSE | re.IGNORECASE,
)
_CLAUSE_END = re.compile(
    r"""\n | [。！？；] | [!?](?=\W|$) | ;\s | \s[-–—]+\s | — | \s\((?=\w) | \.(?=["'”’)\]*]*(?:\s|$))
    | ,\s+(?=(?:which|who|whom|whose|where|when|because|since|as|but|so|while|although|though|however|not|he|she|it|they
         |this|these|that|the|a|an|born|located|known|also|and\s+(?:it|he|she|they|is|was|has))\b)
    | \s(?=(?:because|although|though|but|since|which)\s)""",
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Drs?|St|Jr|Sr|vs|No|Mt|Prof|Gen|Col|Lt|Capt|Ft|Inc|Ltd|Co|Rev|Sgt|Bros)|\b[A-Z](?:\.[A-Z])*)$"
)
_PASSIVE = re.compile(
    r"""^(?P<subject>[^,]{2,120}?)\s(?:
      (?:is|was|are|were|has\ been|have\ been)\s(?:\w+ly\s)?(?:called|named|titled|entitled|known\ as|referred\ to\ as)
      |(?:is|was|are|were|has\ been|have\ been)\s(?:\w+ly\s)?
       (?:\w{2,}ed|written|sung|born|built|led|won|made|held|set|known|found|drawn|begun|taught|shot|bred|spoken|given)\s
       (?:by|in|on|at|as|from|to|of|for)
      |(?:occurred|happened|took\ place|began|started|ended|died|lives|lived|stands|lies)\s(?:in|on|at)
      )\s(?:the\ year\s)?(?P<answer>\S.*)$""",
    re.VERBOSE,
)
_PARTICIPLE = re.compile(
    r"(?:\w{2,}ed|written|born|built|won|made|held|set|found)\s(?:by|in|on|at|from)\s(?:the\syear\s)?(?P<answer>\S.*)$"
)
_PREDICATE = re.compile(
    r"""^(?P<subject>\S[^;]{0,150}?)(?<!\swho)(?<!\sthat)(?<!\swhich)(?<!\swhat)(?<!^there)(?<!^There)
    \s(?:is|was|are|were)(?:\s(?:called|named|known\sas|probably|likely|most\slikely))*\s(?P<answer>\S.*)$""",
    re.VERBOSE,
)
_COMMON_SUBJECT = re.compile(
    r"(?:[Tt]he|[Tt]his|[Tt]hat|[Tt]hese|[Aa]n?|[Hh]is|[Hh]er|[Ii]ts|[Tt]heir|[Oo]ne)\s[a-z0-9\"'“]"
)
_SUBJECT = re.compile(
    r"""^(?!(?:I|It|You|We|They|There|In|On|At|As|If|Who|What|Which|Some|Not)\b)
    (?P<answer>(?:[Tt]he\s)?["“]?[A-Z0-9][\w.'’&-]*
      (?:(?:\s(?:of|the|de|da|du|van|von|del|la|le|and|&|in|on|to|for))*\s[A-Z0-9][\w.'’&-]*)*?["”]?)\s
    (?:(?:is|was|are|were)\s(?:the|an?|one|also|known|famous|not)\b
      |(?:first\s|also\s|originally\s)?(?:wrote|directed|painted|discovered|invented|founded|created|composed|played|plays
         |sang|won|designed|developed|built|led|became|starred|recorded|released|published|produced|scored|holds|held
         |hosted|married|killed|said|has|had|did)\b)""",
    re.VERBOSE,
)
_WORD = re.compile(r"\w+")
_OPENING = " \t\n,\"'“”‘’*_`([{«»「『"
_CLOSING = _OPENING + ".,;:!?)]}。！？；」』、，"


def find_answer(text: str, *, question: str = "") -> Span | None:
    """The characters of the short answer in a reply; None where there is none of at most `MAX_CHARS`.

    Left out: lead-ins ("Sure!", "The answer is", "It's"), a restated question ("The capital of France is"), quotes,
    markup, trailing punctuation, and everything after the first clause. With the question's text, words that only
    restate it are never taken for the answer. A deviation from the paper (arXiv 2512.01797, section 2), which asks a
    language model to extract the answer: that is the `llm` finder.
    """
    asked = frozenset(_words(question))
    start = _lead_in(text)
    end = _clause_end(text, start)
    for first, last in _candidates(text, start, end, asked):
        span = _trim(text, first, last)
        if span is None or span[1] - span[0] > MAX_CHARS:
            continue
        words = _words(text[slice(*span)])
        if not asked or len(words) < 2 or not asked.issuperset(words):
            return span
    return None


def _candidates(text: str, start: int, end: int, asked: frozenset[str]) -> Iterator[Span]:
    """Where the answer may stand in the first clause, the likeliest first."""
    clause = text[start:end]
    if start and (part := _PARTICIPLE.match(clause)):
        yield start + part.start("answer"), end
    if part := _PASSIVE.match(clause):
        yield start + part.start("answer"), end
    predicate = _PREDICATE.match(clause)
    restates = predicate and len(asked.intersection(_words(predicate["subject"]))) * 2 > len(
        _words(predicate["subject"])
    )
    if predicate and (restates or _COMMON_SUBJECT.match(clause)):
        yield start + predicate.start("answer"), end
    if part := _SUBJECT.match(clause):
        yield start, start + part.end("answer")
    yield start, end


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _trim(text: str, start: int, end: int) -> Span | None:
    """The span without quotes, markup and punctuation at its ends; None where nothing is left."""
    while start < end and (text[start] in _OPENING or text[start].isspace()):
        start += 1
    while end > start and (text[end - 1] in _CLOSING or text[end - 1].isspace()):
        if text[end - 1] == "." and text.find(".", start, end - 1) >= 0 and _abbreviates(text, start, end - 1):
            break
        end -= 1
    meant = any(character.isalnum() or ord(character) > 0x2000 for character in text[start:end])
    return (start, end) if meant else None


def _lead_in(text: str) -> int:
    """Where the lead-in ends; a lead-in with nothing after it is itself the answer ("Yes", "It was")."""
    match = LEAD_IN.match(text)
    end = match.end() if match else 0
    return end if text[end:].strip(_CLOSING) else len(text) - len(text.lstrip())


def _clause_end(text: str, start: int) -> int:
    opened = next((place for place in range(start, len(text)) if text[place] not in _OPENING), len(text))
    last = len(text.rstrip())
    for match in _CLAUSE_END.finditer(text, start):
        if match.start() <= opened:
            continue
        if match.group() == "." and match.end() < last and _abbreviates(text, start, match.start()):
            continue
        return match.start()
    return len(text)


def _abbreviates(text: str, start: int, end: int) -> bool:
    """Whether an abbreviation ends there. Only the last characters are cut out: long slices take long."""
    return bool(_ABBREVIATION.search(text[max(start, end - 40) : end]))


def token_offsets(tokenizer: Any, token_ids: Sequence[int], text: str) -> list[Span]:
    """The characters of `text` that each generated id makes, half-open; empty for stop and special tokens.

    `text` is what the ids decode to without stop and special tokens, or that without surrounding white space. A
    character that several tokens make together (byte fallback, byte-level emoji) belongs to each of them. Offsets come
    from decoding ever longer prefixes, the only way that agrees with every tokenizer's own decoder. Raises
    `InputError` where the ids decode to something else, as with another model's tokenizer.
    """
    whole = _decode(tokenizer, token_ids)
    start = whole.find(text)
    if start < 0:
        raise InputError(
            f"the token ids decode to {whole[:40]!r}, but the response says {text[:40]!r}: use the tokenizer of the "
            "model that wrote the responses"
        )
    ends = [0]
    touched = [0]
    for count in range(1, len(token_ids) + 1):
        prefix = _decode(tokenizer, token_ids[:count])
        common = max(_common_length(prefix, whole), ends[-1])
        ends.append(common)
        # What follows the common part is the begun character, shown as U+FFFD until its last byte has come.
        touched.append(min(common + (len(prefix) > common), len(whole)))
    return [
        (_clip(first - start, len(text)), _clip(max(last, first) - start, len(text)))
        for (first, _), (_, last) in pairwise(zip(ends, touched, strict=True))
    ]


class Encoded(NamedTuple):
    """A text as token ids, and the characters of the text that each of them stands for."""

    ids: tuple[int, ...]
    offsets: list[Span]


def encode_text(tokenizer: Any, text: str) -> Encoded | None:
    """A text that came without token ids, encoded; None where the tokenizer cannot.

    Names of special tokens in it are plain text. Where the ids decode to another text (the tokenizer normalises), the
    places are those that the tokenizer itself remembers, which only fast tokenizers do.
    """
    try:
        ids = tuple(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    except (TypeError, ValueError):  # lone surrogates are no text to it
        return None
    try:
        return Encoded(ids, token_offsets(tokenizer, ids, text)) if ids else None
    except InputError:
        if not tokenizer.is_fast:
            return None
    options = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True}
    places = tokenizer(text, **options)["offset_mapping"]
    return Encoded(ids, [(start, end) for start, end in places])


def _decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    decoded: str = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return decoded


def _common_length(one: str, other: str) -> int:
    for n, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return n
    return min(len(one), len(other))


def _clip(position: int, length: int) -> int:
    return max(0, min(length, position))


def token_span(offsets: Sequence[Span], char_span: Span) -> Span | None:
    """The tokens that share a character with `char_span`, half-open; None where none does."""
    inside = [n for n, (start, end) in enumerate(offsets) if max(start, char_span[0]) < min(end, char_span[1])]
    return (inside[0], inside[-1] + 1) if inside else None
