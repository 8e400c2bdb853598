"""The `alias` judge: is a reply right, by the question's known answers? Pure text, well under a millisecond a reply.

Both classes are to be believed, so what is doubtful is `unscored`:

- `correct`: a known answer stands in the reply as whole words, however spelled. It may stand in any of its forms, such
  as another order of a name or without a middle name. Nothing speaks against it at that place: it is not negated ("not
  Paris"), compared, or part of another name ("New Mexico"). It is not what others say ("many think of Paris, but"),
  and not a mere restatement of the question. The located answer must say it too. And the calibrated probability of
  being right is at least `Thresholds.correct`.
- `incorrect`: the probability is at most `Thresholds.incorrect`. It falls where the reply commits to something that
  shares no word, date, number or spelling with a known answer, and rises where answers of this kind have many names.
- `abstained`: no known answer, and no answer at all ("I don't know", "there is no such animal").
- `unscored`: everything between; several candidates of which some are right; an empty reply; reasoning that never
  ended; a question without known answers.
- About something invented (`answerable=False`) nothing is `correct`: denying or not knowing is `abstained`, any
  answer is `incorrect`, as the positive class is the confident made-up answer.
"""

from typing import NamedTuple

from hneurons.answers.clauses import LEAD_IN
from hneurons.answers.judges.abstention import abstains
from hneurons.answers.judges.candidates import asks_for_several, list_items
from hneurons.answers.judges.evidence import Evidence, collect_evidence, in_longer_name, says_known
from hneurons.answers.judges.faults import other_unit
from hneurons.answers.judges.matching import Compiled, Match, compile_question, find_matches
from hneurons.answers.judges.normalize import Token, join, tokenize, word_set
from hneurons.answers.judges.probability import DEFAULT_THRESHOLDS, Thresholds, right_probability
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.answers.spans import find_answer
from hneurons.core.types import Question, Verdict

VERSION = 4
"""Counts changes of the rules that can change a verdict; stored with results."""

_COPULAS = word_set("is was are were am be being been called named")
_MAX_CHARS = 20_000


class JudgedText(NamedTuple):
    """A verdict and why: the alias that matched, or what was found instead; and the probability of being right.

    `probability` is NaN where the verdict rests on a rule alone.
    """

    verdict: Verdict
    reason: str
    probability: float = float("nan")


class Reading(NamedTuple):
    """A reply as read: the verdict where a rule settles it, else the evidence and what forbids a verdict."""

    settled: JudgedText | None
    evidence: Evidence | None = None
    doubt: str = ""


def judge_alias(question: Question, text: str, *, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> JudgedText:
    """Judge one reply against the question's aliases. The module's docstring says how."""
    reading = read_reply(question, text)
    if reading.evidence is None:
        assert reading.settled is not None
        return reading.settled
    return decide(reading, right_probability(reading.evidence), thresholds)


def read_reply(question: Question, text: str) -> Reading:
    """Everything about one reply that its verdict depends on, the thresholds aside."""
    reply = cut_reasoning(text)
    if not reply.whole:
        return Reading(JudgedText("unscored", "the reasoning never ended"))
    text = reply.text[:_MAX_CHARS]
    tokens = tokenize(text)
    if not tokens:
        return Reading(JudgedText("unscored", "empty reply"))
    if not question.answerable:
        if abstains(tokens, answerable=False):
            return Reading(JudgedText("abstained", "no answer given"))
        return Reading(JudgedText("incorrect", "answers about something invented"))
    compiled = compile_question(question)
    if not compiled.known:
        silent = abstains(tokens)
        verdict = JudgedText("abstained", "no answer given") if silent else JudgedText("unscored", "no known answers")
        return Reading(verdict)
    known = compiled.known.get(join(tokens))
    if known is not None and known.kind == "exact" and not other_unit(tokens, Match(0, len(tokens), known)):
        if known.in_question and not compiled.is_choice:
            return Reading(JudgedText("unscored", f"known answer, but the question says it too: {known.text}"))
        return Reading(JudgedText("correct", known.text, 1.0))
    place = find_answer(text, question=question.text)
    span = tokenize(text[slice(*place)]) if place is not None else []
    committed = _committed(tokens, text, set(compiled.question))
    evidence = collect_evidence(question, text, committed, span)
    if evidence.match is None and abstains(committed):
        return Reading(JudgedText("abstained", "no answer given"))
    return Reading(None, evidence, _doubt(question, text, committed, span, compiled, evidence))


def decide(reading: Reading, probability: float, thresholds: Thresholds) -> JudgedText:
    """The verdict on a reading that no rule settles, by the probability that it is right."""
    evidence, doubt = reading.evidence, reading.doubt
    assert evidence is not None
    if probability <= thresholds.incorrect and evidence.match is None and not doubt:
        return JudgedText("incorrect", evidence.fault or "no known answer in it", probability)
    if probability >= thresholds.correct and evidence.match is not None and not doubt:
        return JudgedText("correct", evidence.match.known.text, probability)
    return JudgedText(
        "unscored", doubt or evidence.fault or f"right with a probability of {probability:.2f}", probability
    )


def _doubt(
    question: Question, text: str, tokens: list[Token], span: list[Token], compiled: Compiled, evidence: Evidence
) -> str:
    """Why neither verdict can be given, whatever the probability; empty where one can."""
    match = evidence.match
    if match is None:
        if 2 * len(tokens) > len(compiled.question) and join(tokens) in "".join(compiled.question):
            return "only repeats the question"
        if evidence.fault == "negated" and says_known(span, compiled):
            return "denies a known answer"
        return ""
    if evidence.several:
        return f"several candidates, {match.known.text} among them"
    items = list_items(text)
    if items and not asks_for_several(question.text) and len(compiled.known) and not _all_known(items, compiled):
        return f"a list, {match.known.text} in it"
    if in_longer_name(tokens, match, compiled):
        return f"a longer name than {match.known.text}"
    if not says_known(span, compiled):
        return f"{match.known.text} is said, but not as the answer"
    return ""


def _all_known(items: list[str], compiled: Compiled) -> bool:
    return all(find_matches(tokenize(item), compiled) for item in items)


def _committed(tokens: list[Token], text: str, asked: set[str]) -> list[Token]:
    """The first sentence where it is a bare answer, else everything."""
    first = next((n for n, token in enumerate(tokens) if n and token.starts_sentence), len(tokens))
    if first == len(tokens) or "?" in tokens[first].gap:
        return tokens
    lead = LEAD_IN.match(text)
    skipped = tokenize(text[: lead.end()]) if lead else []
    if len(skipped) >= first:
        return tokens
    answer = tokens[len(skipped) : first]
    words = {token.text for token in answer}
    bare = len(answer) <= 6 and not words & _COPULAS and not words <= asked and not abstains(tokens[:first])
    return tokens[:first] if bare else tokens
