"""What a reply says after its reasoning: `<think>` blocks and their kin, and the channels of the Harmony format.

Everything that reads a reply cuts its reasoning off here first. Reasoning that never ends leaves no answer: the reply
was truncated.
"""

import re
from typing import NamedTuple

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""Opening and closing marks of reasoning, as model families write them."""

_WRAPPERS = (
    ("<answer>", "</answer>"),
    ("<response>", "</response>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)
_MARKED = re.compile("[<\\[◁]")
_CHANNEL = re.compile(r"<\|channel\|>\s*(analysis|commentary|final)[^<]{0,80}<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>")
# What is left of the Harmony marks where special tokens were dropped: "analysisThe user asks ...assistantfinalParis".
_BARE_CHANNEL = re.compile(r"\s{0,20}(?:assistant)?(?:analysis|commentary)(?=[A-Z\s])")
_BARE_FINAL = re.compile(r"(?:assistant|\n)final(?=[^a-z])")


class Answer(NamedTuple):
    """The part of a reply behind its reasoning, where it starts in the reply, and whether the reasoning ended."""

    text: str
    start: int
    whole: bool = True


def cut_reasoning(reply: str) -> Answer:
    """The answer that follows a reply's reasoning; the whole reply where there is none.

    With several blocks the answer is what follows the last. A closing mark without an opening one counts, as some chat
    templates put the opening mark into the prompt. Reasoning that is not closed gives an empty answer with `whole`
    False. Cutting twice changes nothing.
    """
    start, whole = 0, True
    if _MARKED.search(reply):
        start, whole = _after_tags(reply)
        if channels := list(_CHANNEL.finditer(reply)):
            final = [channel for channel in channels if channel.group(1) == "final"]
            start, whole = (final[-1].end(), True) if final else (len(reply), False)
    elif bare := _BARE_CHANNEL.match(reply):
        ends = [match.end() for match in _BARE_FINAL.finditer(reply, bare.end())]
        if ends:
            start = ends[-1]
        elif reply.startswith("analysis", len(reply) - len(reply.lstrip())) and not reply[bare.end()].isspace():
            start, whole = len(reply), False
    if not whole:
        return Answer("", len(reply), False)
    if start == 0 and not _MARKED.search(reply):
        return Answer(reply, 0)
    text = reply[start:]
    if end := _CHANNEL_END.search(text):
        text = text[: end.start()]
    for opening, closing in _WRAPPERS:
        at = text.find(opening)
        if at >= 0:
            inside = at + len(opening)
            end_at = text.find(closing, inside)
            text, start = text[inside : end_at if end_at >= 0 else len(text)], start + inside
            break
    return Answer(text, start)


def _after_tags(reply: str) -> tuple[int, bool]:
    """Where the last block of reasoning ends, and whether none is left open."""
    lowered = reply.lower() if reply.isascii() else reply
    start = 0
    for _, closing in TAGS:
        at = lowered.rfind(closing.lower() if reply.isascii() else closing)
        if at >= 0:
            start = max(start, at + len(closing))
    rest = lowered[start:].lstrip()
    opened = any(
        rest.startswith(mark) or "\n" + mark in rest
        for mark in (opening.lower() if reply.isascii() else opening for opening, _ in TAGS)
    )
    return start, not opened
