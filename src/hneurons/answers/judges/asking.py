"""Ask a judge, again where what it says cannot be read, a bounded number of times."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.core.errors import EndpointError
from hneurons.models.endpoint import ChatRequest, Endpoint, Message

ATTEMPTS = 3
"""Calls of the judge that a reply may take until its verdict can be read."""

MUTE = 8
"""So many replies without one readable verdict among them, and the judge is no judge."""

AGAIN = "I could not read your verdict. Write only the line with the verdict, exactly in one of the forms given."

T = TypeVar("T")


class Asking(NamedTuple, Generic[T]):
    """What a judge is asked, and how its answer is read: the result, or None where it cannot be read."""

    messages: tuple[Message, ...]
    read: Callable[[str], T | None]


class Said(NamedTuple, Generic[T]):
    """What was read, None where nothing could be, and the judge's last words."""

    read: T | None
    text: str


def ask_judge(
    askings: Sequence[Asking[T]], endpoint: Endpoint, *, again: str = AGAIN, max_tokens: int = 256
) -> list[Said[T]]:
    """Ask each of these, in order. What cannot be read is asked again, with the user saying `again`.

    What the judge says before its verdict as reasoning is cut off first. Raises `EndpointError`, also where none of at
    least `MUTE` verdicts could be read.
    """
    found: list[Said[T]] = [Said(None, "")] * len(askings)
    talks = {n: asking.messages for n, asking in enumerate(askings)}
    for _ in range(ATTEMPTS if askings else 0):
        requests = [ChatRequest(messages, max_tokens=max_tokens) for messages in talks.values()]
        for n, completion in zip(list(talks), endpoint.complete_all(requests), strict=True):
            found[n] = Said(askings[n].read(cut_reasoning(completion.text).text), completion.text)
            if found[n].read is None:
                talks[n] = (*talks[n], ("assistant", completion.text), ("user", again))
            else:
                del talks[n]
        if not talks:
            break
    if len(found) >= MUTE and all(said.read is None for said in found):
        raise mute_judge(endpoint.model, len(found), found[0].text)
    return found


def mute_judge(model: str, asked: int, said: str) -> EndpointError:
    """What is raised where a judge gave no verdict at all."""
    return EndpointError(
        f"the judge '{model}' gave no verdict that can be read on any of {asked} replies, each asked {ATTEMPTS} times "
        f"(it last said {' '.join(said.split())[:60]!r}): use a model that follows instructions"
    )


def parse_verdict(said: str, words: Iterable[str]) -> str | None:
    """The verdict standing alone on the last line of what a judge said; None where that line is anything else."""
    lines = [line for line in said.splitlines() if line.strip()]
    pattern = rf"[\s*_`#>-]*VERDICT[*_`]*\s*:[\s*_`]*({'|'.join(map(re.escape, words))})[\s*_`.]*"
    match = re.fullmatch(pattern, lines[-1], re.IGNORECASE) if lines else None
    return match.group(1).upper() if match else None
