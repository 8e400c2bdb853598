"""Sampling many short answers fast.

The prefix that all prompts share is run once, and so is each prompt. Its cache is branched for every sample. The next
branch takes a finished row's place at once. Top-p is applied inside the kept top-k logits.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from hneurons.core.errors import InputError
from hneurons.core.rows import Row
from hneurons.core.seeds import derive_seed
from hneurons.core.types import FinishReason
from hneurons.models.kv_cache import BufferCache, prefill_prefix
from hneurons.models.language_model import LanguageModel

_PREFILL_ROWS, _PREFILL_TOKENS = 32, 4096  # of prompts run together; more tokens do not fit the caches of a CPU
_SHRINK_BELOW = 0.75  # share of rows needed at which the batch is made smaller


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


class Generation(NamedTuple):
    """Generated ids with the stop token, their log-probabilities at temperature 1, and why it ended."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


class Candidates(NamedTuple):
    """What sampling needs of the logits: the top k of each row, sorted, and the log-sum over the vocabulary."""

    logits: Tensor  # float32 [rows, k]
    ids: Tensor  # int64 [rows, k]
    log_total: Tensor  # float32 [rows]


def top_candidates(logits: Tensor, top_k: int | None) -> Candidates:
    """logits: [rows, vocabulary]."""
    logits = logits.float()
    kept, ids = torch.topk(logits, min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    return Candidates(kept, ids, torch.logsumexp(logits, dim=-1))


def choose_tokens(candidates: Candidates, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Next token of each row and its log-probability at temperature 1 over the whole vocabulary.

    uniforms: float64 [rows] in [0, 1). The distribution is that of temperature, then top-k, then top-p (the smallest
    set that reaches p); the k logits are already sorted, so the vocabulary never is.
    """
    kept, ids, log_total = candidates
    if sampling.temperature == 0:
        return ids[:, 0], kept[:, 0] - log_total
    probabilities = torch.softmax(kept.double() / sampling.temperature, dim=-1)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = torch.where(before < sampling.top_p, probabilities, 0.0)
    cumulative = probabilities.cumsum(-1)
    place = torch.searchsorted(cumulative, (uniforms * cumulative[:, -1])[:, None], right=True)
    place = torch.minimum(place, (probabilities > 0).sum(-1, keepdim=True) - 1)
    return ids.gather(1, place).squeeze(1), kept.gather(1, place).squeeze(1) - log_total


class Prefilled(NamedTuple):
    """Prompts after one forward pass, aligned at their last token: cache (prefix, gap, rest), mask of the rest."""

    cache: BufferCache
    mask: Tensor  # int64 [rows, width], the gap before a shorter rest 0
    first: Candidates


class Prompts:
    """Prompts run once through the model, ready to be branched any number of times.

    All begin with the ids `prefix`, whose cache is `prefix_cache`. Rests are aligned at their last token; the gap
    before a shorter one is masked. With `steering` a prompt is run when a branch of it starts, under the branch's
    condition, and `prefix_cache` has one row a condition.
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
    ) -> None:
        self.model, self.prefix_cache, self.top_k, self.steering = model, prefix_cache, top_k, steering
        self.rests = [prompt[len(prefix) :] for prompt in prompts]
        self.start, self.width = len(prefix), max(map(len, self.rests))
        self.lengths = torch.tensor([len(p) for p in prompts], device=model.device)
        if steering is None:
            self._run_all()

    def groups(self, prompts: Sequence[int]) -> list[list[int]]:
        """Places in `prompts` that run together: prompts of similar length, so that little is padded."""
        groups: list[list[int]] = [[]]
        for place in sorted(range(len(prompts)), key=lambda place: len(self.rests[prompts[place]])):
            rows = len(groups[-1]) + 1
            if rows > _PREFILL_ROWS or (rows > 1 and rows * len(self.rests[prompts[place]]) > _PREFILL_TOKENS):
                groups.append([])
            groups[-1].append(place)
        return groups

    def _run_all(self) -> None:
        count = len(self.rests)
        self.cache = BufferCache(self.prefix_cache, count, self.width)
        self.cache.resize(self.width)
        self.mask = torch.zeros(count, self.width, dtype=torch.long, device=self.model.device)
        found: list[Candidates | None] = [None] * count
        for rows in self.groups(range(count)):
            ready = self.run(rows)
            gap = self.width - ready.mask.shape[1]
            self.cache.write(ready.cache, slice(gap, None), rows=rows, source_columns=slice(self.start, None))
            self.mask[rows, gap:] = ready.mask
            for place, row in enumerate(rows):
                found[row] = Candidates(*(part[place] for part in ready.first))
        self.first = Candidates(*(torch.stack(parts) for parts in zip(*(c for c in found if c), strict=True)))

    def run(self, prompts: Sequence[int], conditions: Sequence[int] = ()) -> Prefilled:
        """Run these prompts, each under its condition, in one batch."""
        device, start, rests = self.model.device, self.start, [self.rests[prompt] for prompt in prompts]
        width = max(map(len, rests))
        ids = torch.zeros(len(rests), width, dtype=torch.long)
        mask = torch.zeros(len(rests), start + width, dtype=torch.long)
        mask[:, :start] = 1
        for row, rest in enumerate(rests):
            ids[row, width - len(rest) :] = torch.tensor(rest)
            mask[row, start + width - len(rest) :] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, start:]
        cache = BufferCache(self.prefix_cache, len(rests), start + width)
        cache.write(self.prefix_cache, slice(0, start), source_rows=list(conditions) or slice(None))
        cache.resize(start)
        if self.steering is not None:
            self.steering.steer(conditions, [start + len(rest) for rest in rests])
        out = self.model.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return Prefilled(cache, mask[:, start:].to(device), top_candidates(out.logits[:, -1], self.top_k))


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompts: Prompts,
    branches: Sequence[Branch],
    sampling: Sampling,
    stops: frozenset[int],
    *,
    on_done: Callable[[Branch, Generation], Iterable[Branch]] = lambda branch, generation: (),
    max_rows: int = 128,
) -> None:
    """Draw every branch and hand it to `on_done`, whose answer is drawn too (the question's next round).

    At most `max_rows` run at a time. What is drawn depends on the branch's seed (and condition, where the prompts are
    steered) alone, not on what runs beside it.
    """
    queue = deque(branches)
    batch = _Batch(model, prompts, max_rows, sampling)
    while True:
        batch.resize(len(queue))
        batch.admit(queue)
        if not batch.running:
            return
        for branch, generation in batch.choose(stops):
            queue.extend(on_done(branch, generation))
        if batch.running:
            batch.step()


class _Batch:
    """Rows in flight. A row's positions are: the shared prefix, a masked gap, its prompt's rest, its tokens so far."""

    def __init__(self, model: LanguageModel, prompts: Prompts, max_rows: int, sampling: Sampling) -> None:
        device, rows = model.device, 1
        self.model, self.prompts, self.sampling, self.max_rows = model, prompts, sampling, max_rows
        capacity = prompts.start + prompts.width + 2 * sampling.max_new_tokens
        self.cache = BufferCache(prompts.prefix_cache, rows, capacity)
        if prompts.steering is None:
            self.cache.write(prompts.prefix_cache, slice(0, prompts.start))
        self.length = prompts.start + prompts.width
        self.mask = torch.zeros(rows, capacity, dtype=torch.long, device=device)
        self.mask[:, : prompts.start] = 1
        self.positions = torch.zeros(rows, dtype=torch.long, device=device)
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)
        vocabulary = model.model.get_output_embeddings().weight.shape[0]
        kept = min(sampling.top_k or vocabulary, vocabulary)
        self.candidates = Candidates(
            torch.zeros(rows, kept, device=device),
            torch.zeros(rows, kept, dtype=torch.long, device=device),
            torch.zeros(rows, device=device),
        )
        self.branches: list[Branch | None] = [None] * rows
        self.drawn: list[list[tuple[int, float]]] = [[] for _ in range(rows)]
        self.uniforms = torch.zeros(rows, sampling.max_new_tokens, dtype=torch.float64, device=device)

    @property
    def running(self) -> int:
        return sum(branch is not None for branch in self.branches)

    def admit(self, queue: deque[Branch]) -> None:
        """Give free rows to waiting branches, in place."""
        rows = [row for row, branch in enumerate(self.branches) if branch is None][: len(queue)]
        if not rows:
            return
        incoming = [queue.popleft() for _ in rows]
        sources = [branch.prompt for branch in incoming]
        if self.prompts.steering is None:
            self._branch(rows, sources)
        else:
            for places in self.prompts.groups(sources):
                self._start([rows[place] for place in places], [incoming[place] for place in places])
        self.positions[rows] = self.prompts.lengths[sources]
        for row, branch in zip(rows, incoming, strict=True):
            self.branches[row], self.drawn[row] = branch, []
            draws = np.random.default_rng(derive_seed(self.sampling.seed, *branch.seed_parts))
            self.uniforms[row] = torch.from_numpy(draws.random(self.sampling.max_new_tokens))

    def _branch(self, rows: list[int], sources: list[int]) -> None:
        """Copy prompts that were run before into rows."""
        end, begin = self.length, self.length - self.prompts.width
        self.cache.write(self.prompts.cache, slice(begin, end), rows=rows, source_rows=sources)
        self.mask[rows, self.prompts.start : begin] = 0
        self.mask[rows, begin:end] = self.prompts.mask[sources]
        for mine, first in zip(self.candidates, self.prompts.first, strict=True):
            mine[rows] = first[sources]

    def _start(self, rows: list[int], branches: list[Branch]) -> None:
        """Run the branches' prompts, each under its own condition, and copy them with their prefix into rows."""
        ready = self.prompts.run([branch.prompt for branch in branches], [branch.condition for branch in branches])
        start, end = self.prompts.start, self.length
        begin = end - ready.mask.shape[1]
        self.cache.write(ready.cache, slice(0, start), rows=rows, source_columns=slice(0, start))
        self.cache.write(ready.cache, slice(begin, end), rows=rows, source_columns=slice(start, None))
        self.mask[rows, start:begin] = 0
        self.mask[rows, begin:end] = ready.mask
        for mine, first in zip(self.candidates, ready.first, strict=True):
            mine[rows] = first

    def choose(self, stops: frozenset[int]) -> list[tuple[Branch, Generation]]:
        """Draw one token in every row; the rows that ended."""
        steps = torch.tensor([min(len(d), self.sampling.max_new_tokens - 1) for d in self.drawn])
        uniforms = self.uniforms.gather(1, steps.to(self.uniforms.device)[:, None]).squeeze(1)
        self.tokens, logprobs = choose_tokens(self.candidates, uniforms, self.sampling)
        ended = []
        for row, (token, logprob) in enumerate(zip(self.tokens.tolist(), logprobs.tolist(), strict=True)):
            branch = self.branches[row]
            if branch is None:
                continue
            self.drawn[row].append((token, round(logprob, 4)))
            stopped = token in stops
            if stopped or len(self.drawn[row]) == self.sampling.max_new_tokens:
                ids, logs = zip(*self.drawn[row], strict=True)
                ended.append((branch, Generation(ids, logs, "stop" if stopped else "length")))
                self.branches[row] = None
        return ended

    def resize(self, waiting: int) -> None:
        """Drop free rows when enough are free and nothing waits; add rows when more could run."""
        running = [row for row, branch in enumerate(self.branches) if branch is not None]
        wanted = min(self.max_rows, len(running) + waiting)
        rows = len(self.branches)
        if wanted == 0 or (_SHRINK_BELOW * rows < wanted <= rows):
            return
        # A new row starts as a copy of any old one; admission overwrites what matters.
        keep = torch.tensor([*running, *[0] * (wanted - len(running))], device=self.mask.device)
        self.cache.keep_rows(keep)
        self.mask, self.positions, self.tokens = self.mask[keep], self.positions[keep], self.tokens[keep]
        self.uniforms = self.uniforms[keep]
        self.candidates = Candidates(*(part[keep] for part in self.candidates))
        self.branches = [self.branches[r] for r in running] + [None] * (wanted - len(running))
        self.drawn = [self.drawn[r] for r in running] + [[] for _ in range(wanted - len(running))]

    def step(self) -> None:
        """Run the chosen tokens."""
        if self.length == self.cache.capacity:
            self._make_room()
        self.cache.resize(self.length)
        self.mask[:, self.length] = 1
        self.length += 1
        self._steer()
        out = self.model.model(
            input_ids=self.tokens[:, None],
            attention_mask=self.mask[:, : self.length],
            position_ids=self.positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.candidates = top_candidates(out.logits[:, -1], self.sampling.top_k)
        self.positions += 1

    def _steer(self) -> None:
        if self.prompts.steering is None:
            return
        lengths = self.prompts.lengths.tolist()
        self.prompts.steering.steer(
            [branch.condition if branch else 0 for branch in self.branches],
            [lengths[branch.prompt] if branch else 0 for branch in self.branches],
            self.branches,
        )

    def _make_room(self) -> None:
        """Forget the positions before the oldest running row's prompt."""
        longest = max(len(d) for d, b in zip(self.drawn, self.branches, strict=True) if b is not None)
        start = self.prompts.start
        by = self.length - start - self.prompts.width - longest
        self.cache.shift_left(start, by, self.length)
        self.mask[:, start : self.length - by] = self.mask[:, start + by : self.length].clone()
        self.length -= by


@torch.inference_mode()
def prefill_shared(
    model: LanguageModel, prefix: list[int], *, steering: Steering | None = None, conditions: int = 1
) -> Cache:
    """The cache of the prefix all prompts share, for `Prompts`: one row, or one a condition where it is steered."""
    if steering is not None:
        steering.steer(range(conditions), [len(prefix) + 1] * conditions)
    return prefill_prefix(model.decoder, prefix, model.device, rows=conditions)
