"""Strict reading of a multiple-choice answer: which option a response names, and how surely.

A reader that takes the first letter of any prose as a choice turns "December" into D. This one takes a letter only
where it stands as a label, and an option's text only where it is the whole answer.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, NamedTuple

ParseOutcome = Literal["letter", "letter_text", "option_text", "prose_letter", "none"]
LETTERS = ("A", "B", "C", "D", "E")
_ANSWER_IS = re.compile(r"\b(?:answer|option|choice)\s*(?:is|:)?\s*:?\s*[\(\[]?([A-Z]|\d)[\)\].]?(?!\w)")


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
    text = response.strip().strip("*_ \n")
    labels = {label.upper(): label for label in (choices or LETTERS)}
    if choices is None and re.fullmatch(r"[\(\[]?[1-5](?:[\)\].:]?|[).:]\s+.*)", text, re.DOTALL):
        labels |= {digit: digit for digit in "12345"}
    found = re.match(r"[\(\[]?(\w)[\)\]]?(?:[.:)]|(?=\s*$)|(?=\s*\n)|(?=\s+[-–—]\s))", text)
    label = labels.get(found.group(1).upper()) if found else None
    rest = text[found.end() :].strip(" .:)-–—*\n") if found else ""
    # "1.5 km" and "1. 5 g" are numbers, not option 1; "2) 10 N" is option 2.
    if found and label is not None and label.isdigit() and rest[:1].isdigit() and ")" not in found.group(0):
        label = None
    if label is not None:
        text_label = match_option(rest, choices)[0] if choices and rest else None
        return Reading("letter_text" if rest else "letter", label, text_label, "label")
    if choices:
        option, method = match_option(text, choices)
        if option is not None:
            return Reading("option_text", option, option, method)
    if (named := _ANSWER_IS.search(text)) and named.group(1) in labels:
        return Reading("letter_text", labels[named.group(1)], None, "answer_is")
    outcome: ParseOutcome = "prose_letter" if text[:1].upper() in labels else "none"
    return Reading(outcome, None, None, "")
