"""Run a benchmark: items x interventions x alphas in shared batches, resumable, every reply kept with its grade."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.benchmarks.benchmark import Benchmark, Item, grade_replies
from hneurons.core.artifacts import Manifest, RowStore
from hneurons.core.errors import InputError, NotEnoughDataError, PromptTooLongError
from hneurons.core.progress import progress
from hneurons.core.rows import from_row
from hneurons.core.seeds import fingerprint
from hneurons.models.endpoint import Endpoint
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.records.record import RUN_STAGE, Condition, Record, RunSettings

if TYPE_CHECKING:
    from hneurons.interventions.gate import RiskAbove
    from hneurons.interventions.intervention import Intervention, Scope
    from hneurons.models.kv_cache import Past
    from hneurons.models.language_model import LanguageModel
    from hneurons.models.sampling import Branch, Generation

NO_OP = 1.0
SELECTED = "h_neurons"
_SCORED_ROWS = 4  # texts scored at a time: their logits over the vocabulary are kept whole
_CELLS = 256
"""Generations that are committed together, so that finished batches are full; fixed, as batches decide rounding."""
_FIRST_TURN = 0.5  # of the work on an item whose conversation goes on


class Cell(NamedTuple):
    """One way to run an item. `condition` None is the model as it is, which stands for the no-op of every condition."""

    condition: str | None
    alpha: float


class Drawn(NamedTuple):
    """A generated reply, and in how many of its tokens a policy scaled."""

    generation: "Generation"
    scaled_tokens: int | None


class BenchmarkRun(NamedTuple):
    """A recorded run: its settings, who graded, the records, item by item, and what is known of the judge's errors."""

    settings: RunSettings
    judge: str
    records: list[Record]
    known_error: str = ""


def run_benchmark(
    model: "LanguageModel",
    name: str,
    benchmark: Benchmark,
    items: Sequence[Item],
    sets: "Mapping[str, NeuronSet | Intervention]",
    *,
    alphas: Sequence[float] = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
    scope: "Scope" = "all",
    when: "RiskAbove | None" = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    split: str = "",
    endpoint: Endpoint | None = None,
    max_rows: int = 128,
    out: Path | None = None,
) -> BenchmarkRun:
    """Ask every item under every (condition, alpha) and grade the replies (arXiv 2512.01797, section 3).

    `sets` are named neuron sets, which are scaled at `scope` and while `when` says so, or interventions, which say so
    themselves. Controls are those that `draw_control` made. The alpha that changes nothing (1 where alpha multiplies)
    is run once, whether asked for or not, and recorded under every condition. Items are committed in chunks, so that
    the same call resumes. Prompts are run under the same intervention as the reply where its scope is "all"; with a
    gate they are run as they are. What is drawn for an item depends on the seed and the item, not on the condition, so
    conditions are paired.

    Raises:

    - `InputError` for no or senseless alphas, an empty set, and neurons of another model.
    - `InputError` for interventions that cannot share a run, and for texts to be scored under a gate.
    - `NotEnoughDataError` without items.
    - `PromptTooLongError`, `EndpointError`, `StorageError`.
    """
    if not items:
        raise NotEnoughDataError("there are no items to ask: give a benchmark file that is not empty")
    interventions = _read_interventions(model, sets, scope, when)
    first = next(iter(interventions.values()))
    no_op, when = first.no_op, first.when
    alphas = _check_alphas(alphas, no_op)
    if when is not None and benchmark.scores_text:
        raise InputError(f"'{name}' scores texts whole, and the running risk is known token by token: leave it out")
    tokens = max_new_tokens or benchmark.max_new_tokens
    settings = RunSettings(
        benchmark=name,
        outcome=benchmark.outcome,
        no_op=no_op,
        scaling="multiplicative" if no_op else "additive",
        conditions={label: Condition(one.kind) for label, one in interventions.items()},
        max_tokens=tokens,
        split=split,
    )
    cells = [Cell(None, no_op), *(Cell(label, alpha) for label in sets for alpha in alphas if alpha != no_op)]
    size = max(1, _CELLS // len(cells))
    chunks = [items[first : first + size] for first in range(0, len(items), size)]
    judge = benchmark.judge_name(endpoint)
    inputs = {
        "model": f"{model.name} {fingerprint(replace(model.identity, name='').to_row())}",
        "items": fingerprint([asdict(item) for item in items]),
        "neurons": fingerprint({label: one.identity() for label, one in interventions.items()}),
        "alphas": ", ".join(f"{alpha:g}" for alpha in alphas),
        "scope": _describe_scopes(interventions),
        "judge": judge,
        "version": str(benchmark.version),
        **benchmark.judge_inputs(endpoint),
        "seed": str(seed),
        **({} if when is None else {"when": when.describe()}),
        **model.dtype_setting,
    }
    store = RowStore(out, stage=RUN_STAGE, settings=settings.to_row(), inputs=inputs, expected=len(chunks))
    if not store.complete:
        chosen = [first.at(no_op), *(interventions[cell.condition].at(cell.alpha) for cell in cells if cell.condition)]
        job = _Job(model, name, benchmark, cells, chosen, tokens, seed, max_rows)
        job.check(items, tokens)
        with progress(name, len(items), done=min(store.done * size, len(items))) as advance:
            for chunk in chunks[store.done :]:
                graded = job.run(chunk, endpoint, advance)
                store.commit([record.to_row() for record in _spread(graded, cells, sets)])
        records = [Record.from_row(row) for row in store.rows]
        said = {"judge": judge, "known_error": benchmark.known_error(endpoint)}
        store.finish({"items": len(items), **said, **count_records(records)})
    return read_benchmark_run(store.manifest, store.rows)


def read_benchmark_run(manifest: Manifest, rows: Sequence[dict[str, Any]]) -> BenchmarkRun:
    """What a finished run's manifest and rows say. Raises `ValueError` or `KeyError` where they are no run's."""
    records = [Record.from_row(row) for row in rows]
    error = from_row(str, manifest.summary.get("known_error", ""))
    return BenchmarkRun(RunSettings.from_row(manifest.settings), manifest.summary["judge"], records, error)


def count_records(records: Sequence[Record]) -> dict[str, int]:
    """How many replies there are, how many without outcome, how many cut off by the token limit."""
    return {
        "records": len(records),
        "unscored": sum(record.outcome is None for record in records),
        "truncated": sum(record.finish_reason == "length" for record in records),
    }


def _check_alphas(alphas: Sequence[float], no_op: float) -> tuple[float, ...]:
    import math

    if not alphas or not all(math.isfinite(alpha) for alpha in alphas):
        raise InputError(f"alphas should be finite numbers such as 0, 0.5, 1, 2; found {list(alphas)}")
    return tuple(sorted({*map(float, alphas), no_op}))


def _read_interventions(
    model: "LanguageModel", sets: "Mapping[str, NeuronSet | Intervention]", scope: "Scope", when: "RiskAbove | None"
) -> "dict[str, Intervention]":
    """Every condition as an intervention. Raises `InputError` where one cannot be run, or not beside the others."""
    from hneurons.interventions.scaling import NeuronScaling

    if not sets:
        raise InputError("there is nothing to do to the model: give at least one neuron set or intervention")
    found: dict[str, Intervention] = {}
    for label, given in sets.items():
        own = NeuronScaling(given, scope=scope, when=when) if isinstance(given, NeuronSet) else given
        try:
            own.check_model(model)
        except InputError as error:
            raise InputError(f"'{label}': {error}") from error
        found[label] = own
    if len({one.no_op for one in found.values()}) > 1:
        raise InputError("alpha multiplies in some of these interventions and is added in others: run them apart")
    return found


def _describe_scopes(interventions: "Mapping[str, Intervention]") -> str:
    scopes = {label: str(one.scope) for label, one in interventions.items()}
    one_for_all = len(set(scopes.values())) == 1
    return next(iter(scopes.values())) if one_for_all else ", ".join(f"{k}: {v}" for k, v in scopes.items())


def _spread(graded: list[list[Record]], cells: list[Cell], labels: Iterable[str]) -> list[Record]:
    """Records in the order item, condition, alpha; the plain model's stands for the no-op of every condition."""
    rows = []
    for records in graded:
        for label in labels:
            own = [r for cell, r in zip(cells, records, strict=True) if cell.condition in (None, label)]
            rows += sorted((replace(r, condition=label) for r in own), key=lambda r: r.alpha)
    return rows


class _Job:
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
            found = []
            for item in items:
                found.append(self._score(item))
                advance(1)
            return found
        self.kept = Talks(self.max_rows * (self.longest + self.sampling.max_new_tokens))
        talks = {(i, c): list(item.turns) for i, item in enumerate(items) for c in range(len(self.cells))}
        last: dict[tuple[int, int], Drawn] = {}
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
                text = self._decode(last[key].generation)
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
        width = len(self.cells)
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
    ) -> dict[tuple[int, int], Drawn]:
        from hneurons.models.drawing import draw_steered
        from hneurons.models.sampling import Branch

        places: dict[tuple[int, tuple[str, ...]], int] = {}
        for (i, _), turns in talks.items():
            places.setdefault((i, tuple(turns)), len(places))
        prompts = [self._encode(items[i], turns) for i, turns in places]
        order = list(talks)
        branches = [
            Branch(places[i, tuple(talks[i, c])], (self.name, items[i].id, turn), c) for i, c in order
        ]  # equal seeds for all conditions: they differ by the intervention alone
        found: dict[tuple[int, int], Drawn] = {}
        keys = {(branch.prompt, branch.condition): key for branch, key in zip(branches, order, strict=True)}
        # Prompts that no condition changes go on from what the plain model left, others from their own condition's.
        own = self.steering.reach is None
        names = {(place, c if own else 0): (i, c if own else 0) for (place, c), (i, _) in keys.items()}

        def keep(branch: "Branch", generation: "Generation") -> tuple["Branch", ...]:
            found[keys[branch.prompt, branch.condition]] = Drawn(generation, self.steering.scaled_tokens(branch))
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

    def _decode(self, generation: "Generation") -> str:
        from hneurons.models.engine import decode_answer

        return decode_answer(self.model, generation.token_ids, self.stops)

    def _record_of(self, item: Item, cell: int, drawn: Drawn, replies: list[str]) -> Record:
        text = replies[-1]
        return Record(
            id=item.id,
            condition=self.cells[cell].condition or "",
            alpha=self.cells[cell].alpha,
            response=text if self.benchmark.stores_text else None,
            digest=hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
            chars=len(text),
            n_tokens=len(drawn.generation.token_ids),
            scaled_tokens=drawn.scaled_tokens,
            finish_reason=drawn.generation.finish_reason,
            group=item.group,
        )
