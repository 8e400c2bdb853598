"""Sampling many short answers fast.

The prefix that all prompts share is run once, and so is each prompt. Samples of a prompt run as one as long as they
have the same tokens. The next branch takes a finished row's place at once. Steered prompts are run once for all
conditions, too, up to the first position that a condition may change.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from hneurons.core.errors import InputError
from hneurons.core.rows import Row
from hneurons.core.seeds import derive_seed
from hneurons.core.types import FinishReason
from hneurons.models.choosing import Candidates, choose_tokens, top_candidates
from hneurons.models.kv_cache import BufferCache, Past
from hneurons.models.language_model import LanguageModel
from hneurons.models.prefill import Prompts

_ROOM = 32  # positions that a row grows by


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


class Generation(NamedTuple):
    """Generated ids with the stop token, their log-probabilities at temperature 1, and why it ended.

    `entropies`: of the distribution that each token was drawn from, in nats, over the vocabulary at temperature 1.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    entropies: tuple[float, ...] = ()


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
        self.entropies: list[float] = []


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
        self.cache = BufferCache(prompts.prefix_cache, 0, prompts.copied)
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
        ran, end = self.prompts.caches[prompt], self.prompts.copied + len(self.prompts.rests[prompt])
        self._make_room(end)
        self.cache.write(ran[0], slice(0, end), rows=[place], source_rows=[ran[1]], source_columns=slice(0, end))

    def _start(self, draws: list[_Draw]) -> None:
        """Run the prompts of steered branches, each under its own condition, and give each a row."""
        branches = [draw.branch for draw in draws]
        ready = self.prompts.run([b.prompt for b in branches], [b.condition for b in branches])
        rows = [self._add_row(_Row(draw)) for draw in draws]
        end = ready.cache.capacity
        self._make_room(end)
        self.cache.write(ready.cache, slice(0, end), rows=rows, source_columns=slice(0, end))
        for place, draw in enumerate(draws):
            self.known[draw.key, ()] = ready.first.at([place])

    def _add_row(self, row: _Row) -> int:
        self.rows.append(row)
        if len(self.rows) > self.cache.rows:
            self.cache.add_rows(min(self.max_rows, 2 * len(self.rows)) - self.cache.rows)
        return len(self.rows) - 1

    def _make_room(self, positions: int) -> None:
        """Let rows hold as many positions: they grow with what is run, not to what might be."""
        missing = positions - self.cache.capacity
        if missing > 0:
            self.cache.add_positions(max(missing, _ROOM))

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
        self._make_room(prompts.copied + max(own) + 1)
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
            drawn = zip(going, tokens.tolist(), logprobs.tolist(), together.entropy.tolist(), strict=True)
            for (draw, _), token, logprob, entropy in drawn:
                draw.tokens.append(token)
                draw.logprobs.append(round(logprob, 4))
                draw.entropies.append(round(entropy, 4))
                if self._ended(draw):
                    reason: FinishReason = "stop" if token in self.stops else "length"
                    ids = tuple(draw.tokens[draw.begin :])
                    generation = Generation(ids, tuple(draw.logprobs), reason, tuple(draw.entropies))
                    ended.append((draw.branch, generation))

    def _ended(self, draw: _Draw) -> bool:
        drawn = len(draw.tokens) - draw.begin
        return drawn > 0 and (draw.tokens[-1] in self.stops or drawn == self.sampling.max_new_tokens)
