"""How likely a model finds each of a few given ways to go on: the options of a question with letters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hneurons.core.errors import InputError, PromptTooLongError
from hneurons.models.kv_cache import PrefixPast
from hneurons.models.language_model import LanguageModel
from hneurons.models.prompts import begin_turn, common_prefix


class Asked(NamedTuple):
    """What the user says, and the words with which the model's turn is begun for it, up to the option."""

    said: str
    begun: str


class OptionReader:
    """Reads the next token's distribution behind every one of `asked`, at the tokens that tell the options apart.

    What all prompts begin with is run once. An option is told by its first token that the others do not have, so it
    does not matter whether a tokenizer joins a bracket with the letter behind it.

    Raises `InputError` where the tokenizer does not tell the options apart, `PromptTooLongError`.
    """

    def __init__(self, model: LanguageModel, asked: Sequence[Asked], options: Sequence[str]) -> None:
        self.model = model
        pairs = [_encode(model, one, options) for one in asked]
        self.prompts, self.options = [ids for ids, _ in pairs], [tokens for _, tokens in pairs]
        self.prefix = common_prefix(self.prompts) if model.keeps_cache else []
        self.past = PrefixPast(model.decoder, self.prefix, model.device)

    @torch.inference_mode()
    def read(self, numbers: Sequence[int]) -> NDArray[np.float64]:
        """Natural-log probability of each option's token behind these prompts, float64 [numbers, options]."""
        start = len(self.prefix)
        rests = [self.prompts[number][start:] for number in numbers]
        width = max(map(len, rests))
        # Right padding needs no attention mask: causal attention keeps it from earlier tokens.
        ids = torch.tensor([[*rest, *[0] * (width - len(rest))] for rest in rests], device=self.model.device)
        last = [len(rest) - 1 for rest in rests]
        logits = self.model.last_logits(ids, last, self.past.inputs(len(rests), width)).float()
        chosen = torch.tensor([self.options[number] for number in numbers], device=logits.device)
        found = logits.gather(1, chosen) - logits.logsumexp(dim=-1, keepdim=True)
        return np.asarray(found.double().cpu().numpy())


def _encode(model: LanguageModel, asked: Asked, options: Sequence[str]) -> tuple[list[int], list[int]]:
    """The ids before the options part, and each option's next one."""
    text, tokenizer = begin_turn(model.tokenizer, *asked), model.tokenizer
    add = not tokenizer.chat_template
    whole = [list(tokenizer(text + option, add_special_tokens=add)["input_ids"]) for option in options]
    shared = common_prefix(whole)
    tokens = [ids[len(shared)] for ids in whole]
    if len(set(tokens)) < len(options):
        raise InputError(f"the tokenizer of {model.name} does not tell the options {', '.join(options)} apart")
    if len(shared) >= model.window:
        raise PromptTooLongError(
            f"{asked.said[:40]!r}… takes {len(shared)} tokens, but the window of {model.name} holds {model.window}: "
            "ask shorter questions"
        )
    return shared, tokens
