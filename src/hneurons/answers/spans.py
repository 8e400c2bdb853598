"""Where the short answer stands in a reply: the `response` finder, which sees the reply and nothing else.

It never looks at the question's aliases or at the verdict, so right and wrong answers are cut alike; a finder that
searched for the known answers would find spans only in right replies and so leak the label.
"""

import re

from hneurons.core.types import Span

VERSION = 1
"""Counts changes of the rules that can move a span; stored with results."""

MAX_CHARS = 100
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
         (?:\ to\ (?:your|the|this|that)\ question)?\s+(?:is|was|would\ be|should\ be)(?:\ that)?\s*:?\s*
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
    r"""^[^,]{2,120}?\s(?:is|was|are|were|has\ been|have\ been)\s(?:\w+ly\s)?
    (?:\w{2,}ed|written|sung|born|built|led|won|made|held|set|known|found|drawn|begun|taught|shot|bred|spoken|given)\s
    (?:by|in|on|at|as|from|to|of|for)\s(?:the\ year\s)?(?P<answer>\S.*)$""",
    re.VERBOSE,
)
_PARTICIPLE = re.compile(
    r"(?:\w{2,}ed|written|born|built|won|made|held|set|found)\s(?:by|in|on|at|from)\s(?:the\syear\s)?(?P<answer>\S.*)$"
)
_PREDICATE = re.compile(
    r"""^(?:[Tt]he|[Tt]his|[Tt]hat|[Tt]hese|[Aa]n?|[Hh]is|[Hh]er|[Ii]ts|[Tt]heir|[Oo]ne)\s[a-z0-9"'“][\w'’-]*
    (?:\s[^,;]*?)??(?<!\swho)(?<!\sthat)(?<!\swhich)(?<!\swhat)\s(?:is|was|are|were)
    (?:\s(?:called|named|known\sas|probably|likely|most\slikely))*\s(?P<answer>\S.*)$""",
    re.VERBOSE,
)
_SUBJECT = re.compile(
    r"""^(?P<answer>(?:[Tt]he\s)?["“]?[A-Z0-9][\w.'’&-]*
      (?:\s(?:[A-Z0-9][\w.'’&-]*|of|the|de|da|du|van|von|del|la|le|and|&|in|on|to|for))*?["”]?)\s
    (?:(?:is|was|are|were)\s(?:the|an?|one|also|known|famous|not)\b
      |(?:first\s|also\s|originally\s)?(?:wrote|directed|painted|discovered|invented|founded|created|composed|played|plays
         |sang|won|designed|developed|built|led|became|starred|recorded|released|published|produced|scored|holds|held
         |hosted|married|killed|said|has|had|did)\b)""",
    re.VERBOSE,
)
_OPENING = " \t\"'“”‘’*_`([{«»「『"
_CLOSING = _OPENING + ".,;:!?)]}。！？；」』、，"


def find_answer(text: str) -> Span | None:
    """The characters of the short answer in a reply; None where there is none of at most `MAX_CHARS`.

    Left out: lead-ins ("Sure!", "The answer is", "It's"), a restated question ("The capital of France is"), quotes,
    markup, trailing punctuation, and everything after the first clause. A deviation from the paper (arXiv 2512.01797,
    section 2), which asks a language model to extract the answer: that is the `llm` finder.
    """
    start = _lead_in(text)
    end = _clause_end(text, start)
    clause = text[start:end]
    after_lead = start > 0 and _PARTICIPLE.match(clause)
    if part := after_lead or _PASSIVE.match(clause) or _PREDICATE.match(clause) or _SUBJECT.match(clause):
        start, end = start + part.start("answer"), start + part.end("answer")
    while start < end and text[start] in _OPENING + "\n":
        start += 1
    while end > start and text[end - 1] in _CLOSING + "\n":
        if text[end - 1] == "." and _ABBREVIATION.search(text[start : end - 1]) and "." in text[start : end - 1]:
            break
        end -= 1
    if (
        not any(character.isalnum() or ord(character) > 0x2000 for character in text[start:end])
        or end - start > MAX_CHARS
    ):
        return None
    return start, end


def _lead_in(text: str) -> int:
    """Where the lead-in ends; a lead-in with nothing after it is itself the answer ("Yes", "It was")."""
    match = LEAD_IN.match(text)
    end = match.end() if match else 0
    return end if text[end:].strip(_CLOSING + "\n") else len(text) - len(text.lstrip())


def _clause_end(text: str, start: int) -> int:
    for match in _CLAUSE_END.finditer(text, start):
        if not text[start : match.start()].strip(_OPENING):
            continue
        if (
            match.group() == "."
            and _ABBREVIATION.search(text[start : match.start()])
            and match.end() < len(text.rstrip())
        ):
            continue
        return match.start()
    return len(text)
