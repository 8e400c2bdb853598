"""The characters that each generated token makes, and the tokens that hold a stretch of characters.

Tokens are found from the generated ids, not from token strings, so apostrophes, CJK and emoji are exact.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from hneurons.core.errors import InputError
from hneurons.core.types import Span


def token_offsets(tokenizer: Any, token_ids: Sequence[int], text: str) -> list[Span]:
    """The characters of `text` that each generated id makes, half-open; empty for stop and special tokens.

    `text` is what the ids decode to without stop and special tokens, or that without surrounding white space. A
    character that several tokens make together (byte fallback, byte-level emoji) belongs to each of them. Offsets come
    from decoding ever longer prefixes, the only way that agrees with every tokenizer's own decoder. Raises
    `InputError` where the ids decode to something else, as with another model's tokenizer.
    """
    whole = _decode(tokenizer, token_ids)
    start = whole.find(text)
    if start < 0 or whole[:start].strip():
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


def own_offsets(tokenizer: Any, token_ids: Sequence[int], text: str) -> list[Span] | None:
    """`token_offsets` of ids that came with a text; None where they do not decode to it, or to nothing at all."""
    try:
        return token_offsets(tokenizer, token_ids, text)
    except (InputError, OverflowError, IndexError, TypeError):  # ids beyond the vocabulary
        return None


def text_offsets(pieces: Sequence[str], text: str) -> list[Span]:
    """The characters of `text` that each piece of a longer text holds, half-open; nothing where it is not in there.

    The longer text may have white space and special tokens around it. Pieces outside `text` get an empty span.
    """
    start = "".join(pieces).find(text)
    if start < 0 or not text:
        return []
    ends = [0, *accumulate(map(len, pieces))]
    return [(_clip(a - start, len(text)), _clip(b - start, len(text))) for a, b in pairwise(ends)]


class Encoded(NamedTuple):
    """A text as token ids, and the characters of the text that each of them stands for."""

    ids: tuple[int, ...]
    offsets: list[Span]


def encode_text(tokenizer: Any, text: str) -> Encoded | None:
    """A text that came without token ids, encoded; None where the tokenizer cannot.

    Names of special tokens in it are plain text. Where the ids decode to another text (the tokenizer normalises), the
    places are those that the tokenizer itself remembers, which only fast tokenizers do.
    """
    ids = text_ids(tokenizer, text)
    if ids is None:
        return None
    try:
        return Encoded(ids, token_offsets(tokenizer, ids, text)) if ids else None
    except InputError:
        if not tokenizer.is_fast:
            return None
    options = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True}
    places = tokenizer(text, **options)["offset_mapping"]
    return Encoded(ids, [(start, end) for start, end in places])


def text_ids(tokenizer: Any, text: str) -> tuple[int, ...] | None:
    """A text as token ids, names of special tokens being plain text; None where the tokenizer cannot encode it."""
    try:
        return tuple(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    except (TypeError, ValueError):  # lone surrogates are no text to it
        return None


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
