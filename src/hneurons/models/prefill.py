"""Prompts run once through a model, for all their samples and, where they can, for all conditions."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from hneurons.core.errors import UnsupportedModelError
from hneurons.models.choosing import Candidates, top_candidates
from hneurons.models.kv_cache import BufferCache, Past, prefill_prefix
from hneurons.models.language_model import LanguageModel
from hneurons.models.shared_attention import SharedAttention, can_share

_PREFILL_ROWS, _PREFILL_TOKENS = 32, 4096  # of prompts run together; more tokens do not fit the caches of a CPU


class Steering(Protocol):
    """Changes what the model computes, differently in each row of a batch."""

    def steer(
        self, conditions: Sequence[int], prompt_lengths: Sequence[int], continued: Sequence[Hashable] = ()
    ) -> None:
        """Called before every forward pass: each row's condition and the length of its prompt in tokens.

        continued: the branch whose response each row goes on with, None in a free row; left out for prompts. Rows
        change places and owners between passes, so what is remembered of a row is remembered by branch.
        """

    @property
    def reach(self) -> int | None:
        """How many of the last positions of a prompt may be changed by any condition; None stands for all."""

    def lasts(self, condition: int) -> bool:
        """Whether a response under this condition is changed as it will be when it is part of a prompt."""


class Prefilled(NamedTuple):
    """Prompts after one forward pass: each row's positions from the first on, what is padding at the end."""

    cache: BufferCache
    first: Candidates


class Prompts:
    """Prompts run once through the model, ready to be branched any number of times.

    All begin with the ids `prefix`, whose cache is `prefix_cache`. Where the model's attention allows it, the prefix
    is kept and attended to once for all rows; elsewhere every row has a copy. A row's positions lie side by side, so
    that families that count positions or windows by their place in the cache see what they would see alone.

    With `steering` that reaches all of a prompt, it is run when a branch of it starts, under the branch's condition,
    and `prefix_cache` has one row a condition. Where `steering` reaches its last positions only, the others are run
    once for all conditions. These last ones, the prompt's tail, are run as the first tokens of each branch.

    `pasts` are what earlier turns left, by (prompt, condition); condition 0 stands for all where prompts are run once.
    Only what a prompt has beyond its past is run. They are of use where attention to the prefix is shared.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[list[int]],
        prefix: list[int],
        prefix_cache: Cache,
        top_k: int | None,
        *,
        steering: Steering | None = None,
        pasts: Mapping[tuple[int, int], Past] | None = None,
    ) -> None:
        self.model, self.prefix_cache, self.top_k, self.steering = model, prefix_cache, top_k, steering
        reach = 0 if steering is None else steering.reach
        self.run_once = reach is not None
        ends = [len(prompt) - (reach or 0) for prompt in prompts]
        self.prefix = prefix
        self.rests = [prompt[len(prefix) : end] for prompt, end in zip(prompts, ends, strict=True)]
        self.tails = [prompt[end:] for prompt, end in zip(prompts, ends, strict=True)]
        self.start = len(prefix)
        self.lengths = [len(prompt) for prompt in prompts]
        self.first: list[Candidates] = []
        self.caches: list[tuple[BufferCache, int]] = []  # of each prompt run once: where it lies, as long as its group
        self.attention = SharedAttention(model, prefix_cache) if can_share(model, prefix_cache) else None
        self.copied = 0 if self.attention else self.start  # positions of the prefix that every row holds itself
        self.pasts = (pasts or {}) if self.attention else {}
        self.begun = {key: self._count_begun(key[0], past) for key, past in self.pasts.items()}
        if self.run_once:
            self._run_all()

    def _count_begun(self, prompt: int, past: Past) -> int:
        """How many positions behind the prefix a past spares; at least one of the rest is run."""
        ids = [*self.prefix, *self.rests[prompt][:-1]]
        same = next((n for n, (a, b) in enumerate(zip(ids, past.ids, strict=False)) if a != b), None)
        return max(0, (min(len(ids), len(past.ids)) if same is None else same) - self.start)

    def groups(self, prompts: Sequence[int], conditions: Sequence[int]) -> list[list[int]]:
        """Places in `prompts` that run together: prompts of similar length, so that little is padded."""
        pairs = list(zip(prompts, conditions, strict=True))
        todo = [len(self.rests[prompt]) - self.begun.get((prompt, condition), 0) for prompt, condition in pairs]
        groups: list[list[int]] = [[]]
        real = 0
        for place in sorted(range(len(prompts)), key=lambda place: todo[place]):
            padded, real = (len(groups[-1]) + 1) * todo[place], real + todo[place]
            full = len(groups[-1]) == _PREFILL_ROWS or padded > _PREFILL_TOKENS or padded - real > max(64, real // 4)
            if groups[-1] and full:
                groups.append([])
                real = todo[place]
            groups[-1].append(place)
        return groups

    def _run_all(self) -> None:
        count = len(self.rests)
        caches: dict[int, tuple[BufferCache, int]] = {}
        found: dict[int, Candidates] = {}
        for rows in self.groups(range(count), [0] * count):
            ready = self.run(rows, [0] * len(rows))
            for place, row in enumerate(rows):
                caches[row], found[row] = (ready.cache, place), ready.first.at([place])
        self.caches = [caches[row] for row in range(count)]
        if not any(self.tails):
            self.first = [found[row] for row in range(count)]

    def run(self, prompts: Sequence[int], conditions: Sequence[int]) -> Prefilled:
        """Run these prompts, each under its condition, in one batch."""
        copied, pairs = self.copied, list(zip(prompts, conditions, strict=True))
        begun = [self.begun.get(pair, 0) for pair in pairs]
        todo = [self.rests[prompt][done:] for prompt, done in zip(prompts, begun, strict=True)]
        width = max(1, *map(len, todo))
        ids = torch.tensor([[*rest, *[0] * (width - len(rest))] for rest in todo])
        cache = BufferCache(self.prefix_cache, len(todo), copied + max(begun) + width)
        if copied:
            source = list(conditions) if self.prefix_cache.layers[0].keys.shape[0] > 1 else slice(None)
            cache.write(self.prefix_cache, slice(0, copied), source_rows=source)
        cache.resize(copied)
        if any(begun):
            for row, (pair, done) in enumerate(zip(pairs, begun, strict=True)):
                if done:
                    cache.restore(row, self.pasts[pair], slice(self.start, self.start + done))
            cache.use_rows(torch.tensor(begun, device=self.model.device), max(begun))
        if self.steering is not None:
            self.steering.steer(conditions, [self.lengths[prompt] for prompt in prompts])
        logits = self.forward(cache, ids, begun, last=[max(0, len(rest) - 1) for rest in todo])
        return Prefilled(cache, top_candidates(logits, self.top_k))

    def forward(self, cache: BufferCache, ids: Tensor, own: Sequence[int], *, last: Sequence[int]) -> Tensor:
        """One pass: the logits at each row's place `last` in `ids` [rows, tokens], as [rows, vocabulary].

        own: how many positions behind the prefix each row has already. Padding behind a row's tokens needs no mask:
        causal attention keeps it from earlier tokens.
        """
        device, tokens = self.model.device, ids.shape[1]
        lengths = torch.tensor(own, device=device)
        places = lengths[:, None] + torch.arange(tokens, device=device)
        inputs: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if self.model.takes_positions:
            inputs["position_ids"] = self.start + places
        if self.attention is None:
            seen = torch.arange(self.copied + max(own) + tokens, device=device)
            inputs["attention_mask"] = (seen <= self.copied + places[:, -1:]).long()
        with self.attention.active(lengths) if self.attention else nullcontext():
            return self.model.last_logits(ids.to(device), last, inputs)


@torch.inference_mode()
def prefill_shared(
    model: LanguageModel, prefix: list[int], *, steering: Steering | None = None, conditions: int = 1
) -> Cache:
    """The cache of the prefix all prompts share, for `Prompts`: one row, or one a condition where it is steered.

    Raises `UnsupportedModelError` for a family that keeps no keys and values, or keeps more than these.
    """
    if not model.keeps_cache:
        raise UnsupportedModelError(
            f"{model.name} ({model.text_config.model_type}) keeps no cache of keys and values alone: sampling it is "
            "not supported; sample from it behind an endpoint"
        )
    if steering is not None:
        conditions = conditions if steering.reach is None else 1  # else no condition changes the prefix
        steering.steer(range(conditions), [len(prefix) + 1] * conditions)
    return prefill_prefix(model.decoder, prefix, model.device, rows=conditions)
