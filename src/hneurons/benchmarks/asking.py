"""Ask the items of a benchmark under every condition: a chunk at a time, what is finished of it kept where it stops."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.benchmarks.benchmark import Benchmark, Item, grade_replies
from hneurons.core.errors import PromptTooLongError
from hneurons.core.rows import Row
from hneurons.core.types import FinishReason
from hneurons.models.endpoint import Endpoint
from hneurons.records.record import Record

if TYPE_CHECKING:
    from hneurons.interventions.intervention import Intervention
    from hneurons.models.kv_cache import Past
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.sampling import Branch, Generation

_SCORED_ROWS = 4  # texts scored at a time: their logits over the vocabulary are kept whole
_FIRST_TURN = 0.5  # of the work on an item whose conversation goes on


class Cell(NamedTuple):
    """One way to run an item. `condition` None is the model as it is, which stands for the no-op of every condition."""

    condition: str | None
    alpha: float


@dataclass(frozen=True, slots=True)
class FinishedReply(Row):
    """A generated reply in a turn of an item's talk in a cell; in how many of its tokens a policy scaled, if any."""

    item: str
    cell: int
    turn: int
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    scaled_tokens: int | None


class Job:
    """Generates and grades one chunk of items after the other."""

    def __init__(
        self,
        model: "LanguageModel",
        name: str,
        benchmark: Benchmark,
        cells: list[Cell],
        conditions: "Sequence[Intervention]",
        tokens: int,
        seed: int,
        max_rows: int,
    ) -> None:
        from hneurons.interventions.steering import Steer
        from hneurons.models.prompts import PromptStyle
        from hneurons.models.sampling import Sampling

        self.model, self.name, self.benchmark, self.cells, self.max_rows = model, name, benchmark, cells, max_rows
        self.sampling = Sampling(benchmark.temperature, benchmark.top_k, benchmark.top_p, tokens, seed)
        self.stops = model.stops(PromptStyle())
        self.steering = Steer(model, conditions)
        self.goes_on = type(benchmark).next_turn is not Benchmark.next_turn
        self.longest = 0
        self.drawn: dict[tuple[str, int, int], FinishedReply] = {}  # of this chunk, by item, cell and turn
        self.scored: dict[str, list[Record]] = {}

    def recall(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take what an earlier call had finished of the next chunk. Where that is damaged, all of it is made again."""
        try:
            scored = [[Record.from_row(one) for one in row["records"]] for row in rows if "records" in row]
            drawn = [FinishedReply.from_row(row) for row in rows if "records" not in row]
        except (ValueError, LookupError, TypeError):
            return
        self.scored = {records[0].id: records for records in scored if records}
        self.drawn = {(one.item, one.cell, one.turn): one for one in drawn}

    def finished(self) -> list[dict[str, Any]]:
        """What is finished of the chunk that is being stopped, for `recall`."""
        scored = [{"records": [record.to_row() for record in records]} for records in self.scored.values()]
        return [*scored, *(reply.to_row() for reply in self.drawn.values())]

    def check(self, items: Sequence[Item], tokens: int) -> None:
        """Raise `PromptTooLongError` before any work where an item does not fit."""
        for item in items if not self.benchmark.scores_text else ():
            self.longest = max(self.longest, len(self._encode(item, item.turns)))

    def _encode(self, item: Item, turns: Sequence[str]) -> list[int]:
        from hneurons.models.prompts import alternate, encode_turns

        ids = encode_turns(self.model.tokenizer, alternate(turns))
        if len(ids) + self.sampling.max_new_tokens > self.model.window:
            raise PromptTooLongError(
                f"item {item.id} takes {len(ids)} tokens and {self.sampling.max_new_tokens} more are to be generated, "
                f"but the window of {self.model.name} holds {self.model.window}: leave it out or lower the token limit"
            )
        return ids

    def run(self, items: Sequence[Item], endpoint: Endpoint | None, advance: Callable[..., None]) -> list[list[Record]]:
        """The graded records of each item, in the order of the cells; `advance` is told of them reply by reply."""
        from hneurons.models.drawing import Talks

        if self.benchmark.scores_text:
            for item in items:
                if item.id not in self.scored:
                    self.scored[item.id] = self._score(item)
                advance(1)
            found, self.scored = [self.scored[item.id] for item in items], {}
            return found
        self.kept = Talks(self.max_rows * (self.longest + self.sampling.max_new_tokens))
        talks = {(i, c): list(item.turns) for i, item in enumerate(items) for c in range(len(self.cells))}
        last: dict[tuple[int, int], FinishedReply] = {}
        replies: dict[tuple[int, int], list[str]] = {key: [] for key in talks}
        active, turn = list(talks), 0
        while active:
            shared = turn == 0 and self.benchmark.first_turn_unscaled
            asked = [key for key in active if key[1] == 0] if shared else active
            first_share = len(items) / len(asked) * (_FIRST_TURN if self.goes_on else 1)
            tick = partial(advance, first_share) if turn == 0 else lambda: None
            drawn = self._generate(items, {key: talks[key] for key in asked}, turn, tick)
            last |= {key: drawn[(key[0], 0) if shared else key] for key in active}
            following = []
            for key in active:
                text = self._decode(last[key].token_ids)
                replies[key].append(text)
                said = self.benchmark.next_turn(items[key[0]], [cut_reasoning(reply).text for reply in replies[key]])
                if said is not None:
                    talks[key] += [text, said]
                    following.append(key)
            active, turn = following, turn + 1
        if self.goes_on:
            advance(len(items) * (1 - _FIRST_TURN))
        cells = [(items[i], self._record_of(items[i], c, last[i, c], replies[i, c]), replies[i, c]) for i, c in talks]
        graded = grade_replies(self.benchmark, cells, endpoint)
        width, self.drawn = len(self.cells), {}
        return [graded[first : first + width] for first in range(0, len(graded), width)]

    def _score(self, item: Item) -> list[Record]:
        """Log-likelihood and share of right greedy predictions of the text's tokens after the first, in every cell."""
        import torch

        ids = self.model.tokenizer(item.turns[0])["input_ids"][: min(self.sampling.max_new_tokens, self.model.window)]
        blank = Record(item.id, "", self.cells[0].alpha, chars=len(item.turns[0]), n_tokens=len(ids) - 1)
        if len(ids) < 2:
            return [replace(blank, alpha=cell.alpha, error="fewer than two tokens") for cell in self.cells]
        tokens, found = torch.tensor(ids, device=self.model.device), []
        for first in range(0, len(self.cells), _SCORED_ROWS):
            rows = range(first, min(first + _SCORED_ROWS, len(self.cells)))
            with torch.inference_mode(), self.steering:
                self.steering.steer(rows, [1] * len(rows))
                logits = self.model.model(tokens.expand(len(rows), -1), use_cache=False).logits[:, :-1].float()
            chosen = logits.gather(2, tokens[1:].expand(len(rows), -1)[:, :, None])[:, :, 0]
            loglik = (chosen - logits.logsumexp(-1)).double().sum(-1).tolist()
            right = (logits.argmax(-1) == tokens[1:]).double().mean(-1).tolist()
            for cell, value, share in zip(rows, loglik, right, strict=True):
                found.append(
                    replace(blank, alpha=self.cells[cell].alpha, outcome=round(share, 6), loglik=(round(value, 4),))
                )
        return found

    def _generate(
        self, items: Sequence[Item], talks: dict[tuple[int, int], list[str]], turn: int, tick: Callable[[], None]
    ) -> dict[tuple[int, int], FinishedReply]:
        """The reply to each talk; what an earlier call had drawn is not drawn again."""
        from hneurons.models.drawing import draw_steered
        from hneurons.models.sampling import Branch

        names_of = {(i, c): (items[i].id, c, turn) for i, c in talks}
        found = {key: self.drawn[name] for key, name in names_of.items() if name in self.drawn}
        for _ in found:
            tick()
        talks = {key: turns for key, turns in talks.items() if key not in found}
        if not talks:
            return found
        places: dict[tuple[int, tuple[str, ...]], int] = {}
        for (i, _), turns in talks.items():
            places.setdefault((i, tuple(turns)), len(places))
        prompts = [self._encode(items[i], turns) for i, turns in places]
        order = list(talks)
        branches = [
            Branch(places[i, tuple(talks[i, c])], (self.name, items[i].id, turn), c) for i, c in order
        ]  # equal seeds for all conditions: they differ by the intervention alone
        keys = {(branch.prompt, branch.condition): key for branch, key in zip(branches, order, strict=True)}
        # Prompts that no condition changes go on from what the plain model left, others from their own condition's.
        own = self.steering.reach is None
        names = {(place, c if own else 0): (i, c if own else 0) for (place, c), (i, _) in keys.items()}

        def keep(branch: "Branch", generation: "Generation") -> tuple["Branch", ...]:
            key = keys[branch.prompt, branch.condition]
            found[key] = self.drawn[names_of[key]] = FinishedReply(
                *names_of[key], generation.token_ids, generation.finish_reason, self.steering.scaled_tokens(branch)
            )
            tick()
            return ()

        def keep_past(branch: "Branch", past: "Past") -> None:
            self.kept.put(keys[branch.prompt, branch.condition], past)

        with self.steering:
            draw_steered(
                self.model, prompts, branches, self.sampling, self.stops, on_done=keep, steering=self.steering,
                conditions=len(self.cells), pasts=self.kept.find(names), keep=keep_past if self.goes_on else None,
                max_rows=self.max_rows,
            )  # fmt: skip
        return found

    def _decode(self, token_ids: Sequence[int]) -> str:
        from hneurons.models.engine import decode_answer

        return decode_answer(self.model, token_ids, self.stops)

    def _record_of(self, item: Item, cell: int, drawn: FinishedReply, replies: list[str]) -> Record:
        text = replies[-1]
        return Record(
            id=item.id,
            condition=self.cells[cell].condition or "",
            alpha=self.cells[cell].alpha,
            response=text if self.benchmark.stores_text else None,
            digest=hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
            chars=len(text),
            n_tokens=len(drawn.token_ids),
            scaled_tokens=drawn.scaled_tokens,
            finish_reason=drawn.finish_reason,
            group=item.group,
        )
