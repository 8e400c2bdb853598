"""Which located examples a model can read: those that fit its window, in tokens that it has."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.core.errors import NotEnoughDataError, PromptTooLongError
from hneurons.core.types import Example

if TYPE_CHECKING:
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.prompts import PromptStyle

NAMED = 20
"""Ids of examples that a summary names; more are counted."""


class Readable(NamedTuple):
    """Examples with the token ids of their prompts, and the ids of those that the model cannot read."""

    examples: list[Example]
    prompts: list[list[int]]
    too_long: list[str]
    unknown_tokens: list[str]

    @property
    def summary(self) -> dict[str, Any]:
        """Counts and first ids of what is left out; empty where nothing is."""
        left_out = {"too_long": self.too_long, "unknown_tokens": self.unknown_tokens}
        return {why: {"examples": len(ids), "first": ids[:NAMED]} for why, ids in left_out.items() if ids}


def keep_readable(model: "LanguageModel", examples: Sequence[Example], style: "PromptStyle") -> Readable:
    """Encode the prompts of located examples, and leave out what the model cannot read.

    Answers that the model drew itself are always readable; recorded ones need not be. Raises `NotEnoughDataError` where
    nothing is left.
    """
    found = Readable([], [], [], [])
    for example in examples:
        ids = example.response.token_ids
        if max(ids) >= model.text_config.vocab_size:
            found.unknown_tokens.append(example.id)
            continue
        try:
            found.prompts.append(model.encode(example.question.text, style, room=len(ids)))
            found.examples.append(example)
        except PromptTooLongError:
            found.too_long.append(example.id)
    if not found.examples:
        raise NotEnoughDataError(
            f"{model.name} can read none of {len(examples)} answers: {len(found.too_long)} do not fit its window of "
            f"{model.window} tokens, and {len(found.unknown_tokens)} have tokens that it does not know"
        )
    return found
