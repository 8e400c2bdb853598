"""Sampling many short answers fast.

The prefix that all prompts share is run once, and so is each prompt. Samples of a prompt run as one as long as they
have the same tokens. The next branch takes a finished row's place at once. Steered prompts are run once for all
conditions, too, up to the first position that a condition may change.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from hneurons.core.errors import InputError, UnsupportedModelError
from hneurons.core.rows import Row
from hneurons.core.seeds import derive_seed
from hneurons.core.types import FinishReason
from hneurons.models.choosing import Candidates, choose_tokens, top_candidates
from hneurons.models.kv_cache import BufferCache, Past, prefill_prefix
from hneurons.models.language_model import LanguageModel
from hneurons.models.shared_attention import SharedAttention, can_share

_PREFILL_ROWS, _PREFILL_TOKENS = 32, 4096  # of prompts run together; more tokens do not fit the caches of a CPU


@dataclass(frozen=True, slots=True)
class Sampling(Row):
    """Decoding settings; the defaults are the paper's (arXiv 2512.01797, section 2).

    `temperature=0` is greedy. `top_k=None` keeps the whole vocabulary.
    """

    temperature: float = 1.0
    top_k: int | None = 50
    top_p: float = 0.9
    max_new_tokens: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        top_k = 1 if self.top_k is None else self.top_k
        if not (self.temperature >= 0 and top_k >= 1 and 0 < self.top_p <= 1 and self.max_new_tokens >= 1):
            raise InputError(
                f"sampling needs temperature >= 0, top-k >= 1, 0 < top-p <= 1 and at least one new token; got {self}"
            )


class Branch(NamedTuple):
    """One continuation to draw: of which prompt, the identity that seeds its random numbers, and how it is steered."""

    prompt: int
    seed_parts: tuple[str | int, ...]
    condition: int = 0


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


class Generation(NamedTuple):
    """Generated ids with the stop token, their log-probabilities at temperature 1, and why it ended."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


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
        self.start, self.width = len(prefix), max(map(len, self.rests))
        self.lengths = [len(prompt) for prompt in prompts]
        self.first: list[Candidates] = []
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
        self.cache = BufferCache(self.prefix_cache, count, self.width)
        found: list[Candidates | None] = [None] * count
        for rows in self.groups(range(count), [0] * count):
            ready, end = self.run(rows, [0] * len(rows)), max(len(self.rests[row]) for row in rows)
            columns = slice(self.copied, self.copied + end)
            self.cache.write(ready.cache, slice(0, end), rows=rows, source_columns=columns)
            for place, row in enumerate(rows):
                found[row] = ready.first.at([place])
        if not any(self.tails):
            self.first = [candidates for candidates in found if candidates is not None]

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
def generate(
    model: LanguageModel,
    prompts: Prompts,
    branches: Sequence[Branch],
    sampling: Sampling,
    stops: frozenset[int],
    *,
    on_done: Callable[[Branch, Generation], Iterable[Branch]] = lambda branch, generation: (),
    keep: Callable[[Branch, Past], None] | None = None,
    max_rows: int = 128,
) -> None:
    """Draw every branch and hand it to `on_done`, whose answer is drawn too (the question's next round).

    At most `max_rows` run at a time. What is drawn depends on the branch's seed (and condition, where the prompts are
    steered) alone, not on what runs beside it. `keep` is given what a steered branch leaves in the cache, where that
    lasts into a next turn.
    """
    longest = max(prompts.lengths) + sampling.max_new_tokens
    if prompts.attention is None and longest > model.attention_window:
        max_rows = 1  # this family counts its window from the end of the cache, which is another row's end
    queue = deque(branches)
    batch = _Batch(prompts, max_rows, sampling, stops, keep)
    while queue or batch.rows:
        done = batch.admit(queue) or batch.step()
        for branch, generation in done:
            queue.extend(on_done(branch, generation))


class _Draw:
    """A branch being drawn: its random numbers, and its tokens so far behind `begin` of the prompt's tail."""

    def __init__(self, branch: Branch, sampling: Sampling, key: Hashable, tail: Sequence[int]) -> None:
        draws = np.random.default_rng(derive_seed(sampling.seed, *branch.seed_parts))
        self.branch, self.key = branch, key
        self.uniforms = draws.random(sampling.max_new_tokens)
        self.tokens, self.begin = list(tail), len(tail)
        self.logprobs: list[float] = []


class _Row:
    """One row of the cache: a prompt, the tokens run behind it, and the draws that begin with exactly these."""

    def __init__(self, draw: _Draw, *, ran: tuple[int, ...] = ()) -> None:
        self.draws, self.ran = [draw], ran

    @property
    def key(self) -> Hashable:
        return self.draws[0].key

    def fits(self, draw: _Draw) -> bool:
        return self.key == draw.key and self.ran == tuple(draw.tokens[: len(self.ran)])


class _Batch:
    """Rows in flight. Draws of one prompt that have the same tokens so far are one row, run once.

    What follows a prompt and some tokens is remembered, so that a later draw that goes the same way runs nothing.
    """

    def __init__(
        self,
        prompts: Prompts,
        max_rows: int,
        sampling: Sampling,
        stops: frozenset[int],
        keep: Callable[[Branch, Past], None] | None,
    ) -> None:
        self.prompts, self.max_rows, self.sampling, self.stops, self.keep = prompts, max_rows, sampling, stops, keep
        capacity = prompts.copied + prompts.width + max(map(len, prompts.tails)) + sampling.max_new_tokens
        self.cache = BufferCache(prompts.prefix_cache, 0, capacity)
        self.rows: list[_Row] = []
        self.known: dict[tuple[Hashable, tuple[int, ...]], Candidates] = {}

    def admit(self, queue: deque[Branch]) -> list[tuple[Branch, Generation]]:
        """Begin waiting branches while there is room; those that end on known tokens alone."""
        room = self.max_rows - sum(len(row.draws) for row in self.rows)
        incoming: list[_Draw] = []
        while queue and len(incoming) < room:
            branch = queue.popleft()
            # A steered row is its own: the steering may remember what it did to this branch.
            key = branch.prompt if self.prompts.steering is None else branch
            incoming.append(_Draw(branch, self.sampling, key, self.prompts.tails[branch.prompt]))
            if self.prompts.first:
                self.known[key, ()] = self.prompts.first[branch.prompt]
        if not incoming:
            return []
        if not self.prompts.run_once:
            branches = [draw.branch for draw in incoming]
            for places in self.prompts.groups([b.prompt for b in branches], [b.condition for b in branches]):
                self._start([incoming[place] for place in places])
            return self._draw_all([row for row in self.rows if not row.draws[0].tokens])
        ended = self._draw(incoming)
        for draw in incoming:
            if not self._ended(draw):
                self._place(draw)
        return ended

    def _place(self, draw: _Draw) -> None:
        """Give a draw the row that has run most of its tokens, or a new one that has run the prompt only."""
        fitting = [row for row in self.rows if row.fits(draw)]
        if fitting:
            max(fitting, key=lambda row: len(row.ran)).draws.append(draw)
            return
        place, prompt = self._add_row(_Row(draw)), draw.branch.prompt
        prompts, end = self.prompts, self.prompts.copied + len(self.prompts.rests[prompt])
        if prompts.copied:
            self.cache.write(prompts.prefix_cache, slice(0, prompts.copied), rows=[place])
        columns = slice(0, len(prompts.rests[prompt]))
        self.cache.write(
            prompts.cache, slice(prompts.copied, end), rows=[place], source_rows=[prompt], source_columns=columns
        )

    def _start(self, draws: list[_Draw]) -> None:
        """Run the prompts of steered branches, each under its own condition, and give each a row."""
        branches = [draw.branch for draw in draws]
        ready = self.prompts.run([b.prompt for b in branches], [b.condition for b in branches])
        rows = [self._add_row(_Row(draw)) for draw in draws]
        end = min(ready.cache.capacity, self.cache.capacity)
        self.cache.write(ready.cache, slice(0, end), rows=rows, source_columns=slice(0, end))
        for place, draw in enumerate(draws):
            self.known[draw.key, ()] = ready.first.at([place])

    def _add_row(self, row: _Row) -> int:
        self.rows.append(row)
        if len(self.rows) > self.cache.rows:
            self.cache.add_rows(min(self.max_rows, 2 * len(self.rows)) - self.cache.rows)
        return len(self.rows) - 1

    def step(self) -> list[tuple[Branch, Generation]]:
        """Run every row's next token; the branches that ended with it."""
        for row in list(self.rows):
            self._fork(row)
        prompts, rows = self.prompts, self.rows
        if prompts.steering is not None:
            branches = [row.draws[0].branch for row in rows]
            lengths = [prompts.lengths[branch.prompt] for branch in branches]
            prompts.steering.steer([branch.condition for branch in branches], lengths, branches)
        own = [len(prompts.rests[row.draws[0].branch.prompt]) + len(row.ran) for row in rows]
        ids = [row.draws[0].tokens[len(row.ran)] for row in rows]
        starts = torch.tensor(own, device=prompts.model.device) + prompts.copied
        self.cache.use_rows(starts, prompts.copied + max(own))
        logits = prompts.forward(self.cache, torch.tensor(ids)[:, None], own, last=[0] * len(rows))
        found = top_candidates(logits, self.sampling.top_k)
        for place, (row, token) in enumerate(zip(rows, ids, strict=True)):
            row.ran = (*row.ran, token)
            self.known[row.key, row.ran] = found.at([place])
        return self._draw_all(rows)

    def _fork(self, row: _Row) -> None:
        """Draws of a row that go on with different tokens get rows of their own."""
        by_token: dict[int, list[_Draw]] = {}
        for draw in row.draws:
            by_token.setdefault(draw.tokens[len(row.ran)], []).append(draw)
        row.draws, *others = by_token.values()
        for draws in others:
            source, place = self.rows.index(row), self._add_row(_Row(draws[0], ran=row.ran))
            self.rows[place].draws = draws
            prompt = draws[0].branch.prompt
            end = self.prompts.copied + len(self.prompts.rests[prompt]) + len(row.ran)
            self.cache.copy_row(source, place, slice(0, end))

    def _draw_all(self, rows: list[_Row]) -> list[tuple[Branch, Generation]]:
        """Draw in these rows what is known; rows whose draws all ended make room."""
        ended = self._draw([draw for row in rows for draw in row.draws])
        if self.keep is not None:
            for row in rows:
                self._keep(row, self.keep)
        for row in rows:
            row.draws = [draw for draw in row.draws if not self._ended(draw)]
        for place in reversed(range(len(self.rows))):
            if not self.rows[place].draws:
                self._drop(place)
        return ended

    def _keep(self, row: _Row, keep: Callable[[Branch, Past], None]) -> None:
        """Hand over what a row that ended leaves in the cache."""
        prompts, (draw, *others) = self.prompts, row.draws
        if others or not self._ended(draw) or prompts.steering is None:
            return
        if prompts.steering.lasts(draw.branch.condition):
            ids = [*prompts.prefix, *prompts.rests[draw.branch.prompt], *row.ran]
            prefix = prompts.prefix_cache if prompts.attention else None
            keep(draw.branch, self.cache.take(self.rows.index(row), ids, prefix))

    def _drop(self, place: int) -> None:
        """Put the last row in the place of one that is empty."""
        last = self.rows.pop()
        if place < len(self.rows):
            self.rows[place] = last
            prompt = last.draws[0].branch.prompt
            end = self.prompts.copied + len(self.prompts.rests[prompt]) + len(last.ran)
            self.cache.copy_row(len(self.rows), place, slice(0, end))

    def _draw(self, draws: list[_Draw]) -> list[tuple[Branch, Generation]]:
        """Draw tokens as long as what they follow is known."""
        ended: list[tuple[Branch, Generation]] = []
        while True:
            ready = [(draw, self.known.get((draw.key, tuple(draw.tokens)))) for draw in draws if not self._ended(draw)]
            going = [(draw, candidates) for draw, candidates in ready if candidates is not None]
            if not going:
                return ended
            together = Candidates(*(torch.cat(parts) for parts in zip(*(c for _, c in going), strict=True)))
            uniforms = torch.tensor([d.uniforms[len(d.tokens) - d.begin] for d, _ in going], dtype=torch.float64)
            tokens, logprobs = choose_tokens(
                together, uniforms.to(together.logits.device), self.sampling.temperature, self.sampling.top_p
            )
            for (draw, _), token, logprob in zip(going, tokens.tolist(), logprobs.tolist(), strict=True):
                draw.tokens.append(token)
                draw.logprobs.append(round(logprob, 4))
                if self._ended(draw):
                    reason: FinishReason = "stop" if token in self.stops else "length"
                    ids = tuple(draw.tokens[draw.begin :])
                    ended.append((draw.branch, Generation(ids, tuple(draw.logprobs), reason)))

    def _ended(self, draw: _Draw) -> bool:
        drawn = len(draw.tokens) - draw.begin
        return drawn > 0 and (draw.tokens[-1] in self.stops or drawn == self.sampling.max_new_tokens)


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
