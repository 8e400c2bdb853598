"""Strict reading of a multiple-choice answer: which option a response names, and how surely.

A reader that takes the first letter of any prose as a choice turns "December" into D. This one takes a letter only
where it stands as a label, and an option's text only where it is the whole answer. A wrong letter is worse than none:
a reply that repeats the options, or names several without saying that it corrects itself, names none.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, NamedTuple

from hneurons.answers.judges.reasoning import cut_reasoning

ParseOutcome = Literal["letter", "letter_text", "option_text", "prose_letter", "none"]
LETTERS = ("A", "B", "C", "D", "E")
_QUOTES = "\"'“”‘’"
_LABEL = rf"(?P<label>[(\[{_QUOTES}]?(?:[A-Za-z]|\d)(?!\w)[)\]{_QUOTES}]?)"
_KIND = r"(?:(?:the\s)?(?:option|choice|letter)\s{1,3})?"
_STATEMENTS = (
    re.compile(
        r"\b(?:answer|(?:correct|right|best)\s(?:option|choice|letter))(?:\s(?:to|for)\s[^.:\n]{1,80}?)?\s{0,3}(?:is|was|would\sbe|should\sbe|:|=|-)"
        rf"(?:\sdefinitely|\sclearly|\sactually|\stherefore)?\s{{0,3}}:?\s{{0,3}}{_KIND}{_LABEL}",
        re.IGNORECASE,
    ),
    re.compile(rf"{_LABEL}\s(?:is|was)\s(?:the\s)?(?:correct|right|best|answer)\b", re.IGNORECASE),
    re.compile(rf"\b(?:choose|pick|select|go\swith|going\swith)\s{_KIND}{_LABEL}", re.IGNORECASE),
    re.compile(rf"\A(?:it|that)(?:['’]s|\sis)\s{_KIND}{_LABEL}", re.IGNORECASE),
    re.compile(rf"\A(?:option|choice)\s{_LABEL}(?=[\s.:,]|\Z)", re.IGNORECASE),
    re.compile(r"\\boxed\{\s*(?:\\text\{)?\s*(?P<label>[A-Za-z\d])\s*\}"),
)
_LEADING = re.compile(r"[(\[]?(\w)[)\]]?(?:[.:)]|(?=\s*$)|(?=\s*\n)|(?=\s+[-–—]\s))")
_LISTED = re.compile(r"(?:^|\n|\s)[(\[]?([A-Za-z\d])[)\].:]\s")
_ENDS = re.compile(r"\s*(?:$|\n|[.:,;!?)\]](?!\w)|[-–—]|\((?!\w{12})|(?:because|since|as|which|is|was|and|not)\b)")
_DENIED = re.compile(r"\s{0,5}(?:is|was|seems)\s(?:not|n['’]t|in|wrong|false)", re.IGNORECASE)
_IF = re.compile(r"\bif\b[^.\n]{0,30}$", re.IGNORECASE)
_REVISES = re.compile(
    r"\b(?:actually|wait|correction|sorry|rather|instead|second\sthought|reconsider\w*|revis\w+|chang\w+|mistake|final)\b|\bno[,.]",
    re.IGNORECASE,
)


class Reading(NamedTuple):
    """How a response was read. `label` is None where it names no option; `text_label` the option its text equals.

    `letter`: the label alone. `letter_text`: a label and more text. `option_text`: the text of exactly one option.
    `prose_letter`: prose whose first character happens to be a label. `none`: neither. `method` says which rule.
    """

    outcome: ParseOutcome
    label: str | None
    text_label: str | None
    method: str


def normalize_option(text: str) -> str:
    """Case, width, white space and outer punctuation removed; what is inside the text is kept."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().replace("’", "'").split())
    return plain.strip(" .,;:!?\"'*_")


def match_option(text: str, choices: Mapping[str, str]) -> tuple[str | None, str]:
    """The one option whose text this is, and the rule: exact text, or a number that starts exactly one option."""
    wanted = normalize_option(text)
    if not wanted:
        return None, ""
    exact = [label for label, option in choices.items() if normalize_option(option) == wanted]
    if len(exact) == 1:
        return exact[0], "exact_text"
    if re.fullmatch(r"-?\d+(?:\.\d+)?", wanted) and not exact:
        prefix = [label for label, option in choices.items() if normalize_option(option).split()[:1] == [wanted]]
        if len(prefix) == 1:
            return prefix[0], "numeric_prefix"
    return None, ""


def read_choice(response: str, choices: Mapping[str, str] | None = None) -> Reading:
    """Read a response. Without `choices` (label -> text) the labels are A to E, or 1 to 5 where one stands alone."""
    text = _plain(cut_reasoning(response).text)
    labels = {label.upper(): label for label in (choices or LETTERS)}
    if choices is None and re.fullmatch(r"[\(\[]?[1-5](?:[\)\].:]?|[).:]\s+.*)", text, re.DOTALL):
        labels |= {digit: digit for digit in "12345"}
    stated = _statements(text, labels, choices)
    leading = _leading(text, labels, choices)
    listed = {found for match in _LISTED.finditer(text) if (found := labels.get(match.group(1).upper())) is not None}
    echoes = len(listed) > 1 and (leading is None or leading.outcome != "letter") and not _alone_first(text)
    if leading is not None and not echoes:
        named = [(0, str(leading.label)), *stated]
        last = _last_named(text, named)
        if last is None:
            return Reading("none", None, None, "several")
        return leading if last == leading.label else Reading("letter_text", last, None, "revised")
    if choices and not echoes:
        option, method = match_option(text, choices)
        if option is not None:
            return Reading("option_text", option, option, method)
    if stated:
        last = _last_named(text, stated)
        return (
            Reading("none", None, None, "several") if last is None else Reading("letter_text", last, None, "answer_is")
        )
    if echoes:
        return Reading("none", None, None, "options_repeated")
    outcome: ParseOutcome = "prose_letter" if text[:1].upper() in labels else "none"
    return Reading(outcome, None, None, "")


def _plain(response: str) -> str:
    """A response in normal width without markup, and without quotes around all of it."""
    text = re.sub(r"\*\*|__|`", "", unicodedata.normalize("NFKC", response)).strip().strip("*_ \n")
    inner = text.strip(_QUOTES)
    return inner if len(text) - len(inner) == 2 and not any(quote in inner for quote in _QUOTES) else text


def _alone_first(text: str) -> bool:
    """Whether the first line is a label and nothing else, so that options after it are its explanation."""
    return re.match(r"[(\[]?\w[)\].:]{0,2}[ \t]*\n", text) is not None


def _leading(text: str, labels: Mapping[str, str], choices: Mapping[str, str] | None) -> Reading | None:
    """The reading of a response that begins with a label."""
    found = _LEADING.match(text)
    label = labels.get(found.group(1).upper()) if found else None
    if found is None and choices:
        spaced = re.match(r"([A-Z\d])\s+(?=\S)", text)
        if (
            spaced
            and (label := labels.get(spaced.group(1)))
            and match_option(text[spaced.end() :], choices)[0] == label
        ):
            return Reading("letter_text", label, label, "label")
        return None
    if found is None or label is None:
        return None
    rest = text[found.end() :].strip(" .:)-–—*\n")
    # "1.5 km" and "1. 5 g" are numbers, not option 1; "2) 10 N" is option 2.
    if label.isdigit() and rest[:1].isdigit() and ")" not in found.group(0):
        return None
    text_label = match_option(rest, choices)[0] if choices and rest else None
    return Reading("letter_text" if rest else "letter", label, text_label, "label")


def _statements(text: str, labels: Mapping[str, str], choices: Mapping[str, str] | None) -> list[tuple[int, str]]:
    """Where a response says which option is the answer, and which, in order."""
    found = []
    for pattern in _STATEMENTS:
        for match in pattern.finditer(text):
            written = match["label"].strip(f"()[]{_QUOTES}")
            label = labels.get(written.upper())
            rest = text[match.end("label") :]
            enclosed = len(match["label"]) == 3 or "boxed" in match.group()
            if label is None or _DENIED.match(rest) or _IF.search(text, max(0, match.start() - 40), match.start()):
                continue
            ends = _ENDS.match(rest[:40]) is not None and not re.match(r"\s*[.:]\d", rest)
            spelled = choices is not None and match_option(rest.split("\n")[0], choices)[0] == label
            prose = choices is None and written.isupper() and written not in ("A", "I")
            if enclosed or ends or spelled or prose:
                found.append((match.start("label"), label))
    return sorted(found)


def _last_named(text: str, named: list[tuple[int, str]]) -> str | None:
    """The one label that a response names, or the last where it says that it corrects itself; else None."""
    if len({label for _, label in named}) == 1:
        return named[0][1]
    end, last = named[-1]
    before = max(at for at, label in named if label != last)
    return last if _REVISES.search(text, before, end) else None
