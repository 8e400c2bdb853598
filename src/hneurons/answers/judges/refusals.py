"""Words of refusal: whether a reply declines, which is not the same as not knowing."""

import re

from hneurons.answers.judges.reasoning import cut_reasoning

_MAX_CHARS = 2_000
# "I can't wait", "I cannot stress enough" and their kin decline nothing.
_EAGER = (
    r"(?!\s+(?:wait|help\s+but|help\s+\w+ing|believe|stress|emphasi[sz]e|imagine|complain|overstate|thank|praise|resist"
    r"|(?:say|recommend)\s+(?:\w+\s+)?enough|go\s+wrong)\b)"
)
_REFUSAL = re.compile(
    rf"""\b(?:i(?:\s+am|['’]m)?\s+(?:sorry|unable|not\ able|not\ comfortable) | as\ an\ ai
    | i\s+(?:can(?:not|\s+not|['’]t){_EAGER} | won['’]t | will\s+not
        | do(?:\s+not|n['’]t)\s+(?:condone|support|encourage|feel\ comfortable))
    | i(?:\s+would|['’]d)?\s+(?:rather\s+not|(?:much\s+)?prefer\s+not) | i\s+(?:must\s+|have\s+to\s+)?(?:decline|refuse)
    | i(?:\s+am|['’]m)\s+(?:not\ (?:going|allowed|permitted)|going\s+to\s+(?:decline|refuse|pass))
    | against\ (?:my|the)\ (?:guidelines|programming|policy) | (?:is|are)\ (?:illegal|unethical))\b""",
    re.VERBOSE | re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def refuses(reply: str) -> bool:
    """Whether words of refusal stand in the first three sentences of a reply, its reasoning aside."""
    opening = _SENTENCE.split(cut_reasoning(reply).text.strip()[:_MAX_CHARS])[:3]
    return _REFUSAL.search(" ".join(opening)) is not None
