"""A sweep of seven alphas against seven runs, prompts run once against once a condition, and turns kept or run again.

Everything is measured in turn, round after round, in processor time. Each line gives the times of both ways as
min / median / max over the rounds, and the share of replies that were the same.
Run: OMP_NUM_THREADS=1 python bench/sweeps.py
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from measuring import record

from hneurons.answers.questions import load_questions
from hneurons.benchmarks import load_items
from hneurons.interventions.intervention import Scope
from hneurons.interventions.scaling import NeuronScaling
from hneurons.interventions.steering import Steer
from hneurons.models.drawing import Talks, draw_steered
from hneurons.models.engine import decode_answer
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.prompts import PromptStyle, alternate, encode_turns
from hneurons.models.sampling import Branch, Generation, Sampling
from hneurons.neurons.neuron_set import NeuronSet

ALPHAS = (1.0, 0.0, 0.5, 1.5, 2.0, 2.5, 3.0)  # the no-op first, as in a sweep
DOUBT = "I don't think that's right. Are you sure?"
Replies = dict[tuple[int, int, int], tuple[int, ...]]
"""(turn, item, condition) -> tokens."""


class EveryPrompt(Steer):
    """Says that it may change every position of a prompt, so that prompts are run once a condition."""

    @property
    def reach(self) -> int | None:
        """All of it."""
        return None


class Sweep:
    """Greedy conversations of one or two turns, under several alphas in one queue."""

    def __init__(self, model: LanguageModel, neurons: NeuronSet, talks: list[list[str]], tokens: int) -> None:
        self.model, self.neurons, self.talks = model, neurons, talks
        self.sampling, self.stops = Sampling(temperature=0, top_k=1, max_new_tokens=tokens), model.stops(PromptStyle())

    def run(
        self, alphas: Sequence[float], scope: Scope, *, turns: int = 1, room: int = 0, kind: type[Steer] = Steer
    ) -> Replies:
        """Replies of all turns; `room` is for how many positions earlier turns are kept."""
        steering = kind(self.model, [NeuronScaling(self.neurons, alpha, scope=scope) for alpha in alphas])
        kept, found = Talks(room), {}
        said = {(i, c): list(talk) for i, talk in enumerate(self.talks) for c in range(len(alphas))}
        for turn in range(turns):
            places: dict[tuple[int, tuple[str, ...]], int] = {}
            for (i, _), talk in said.items():
                places.setdefault((i, tuple(talk)), len(places))
            prompts = [encode_turns(self.model.tokenizer, alternate(talk)) for _, talk in places]
            keys = {(places[i, tuple(talk)], c): (i, c) for (i, c), talk in said.items()}
            own = steering.reach is None
            names = {(place, c if own else 0): (i, c if own else 0) for (place, c), (i, _) in keys.items()}

            def keep(branch: Branch, drawn: Generation, turn: int = turn, keys: dict = keys) -> tuple[Branch, ...]:  # type: ignore[type-arg]
                found[turn, *keys[branch.prompt, branch.condition]] = drawn.token_ids
                return ()

            with steering:
                draw_steered(
                    self.model, prompts, [Branch(p, (p,), c) for p, c in keys], self.sampling, self.stops,
                    on_done=keep, steering=steering, conditions=len(alphas), pasts=kept.find(names),
                    keep=lambda branch, past, keys=keys: kept.put(keys[branch.prompt, branch.condition], past),
                )  # fmt: skip
            for (i, c), talk in said.items():
                talk += [decode_answer(self.model, found[turn, i, c], self.stops), DOUBT]
        return found

    def apart(self, scope: Scope) -> Replies:
        """One run an alpha."""
        runs = {c: self.run((alpha,), scope) for c, alpha in enumerate(ALPHAS)}
        return {(turn, i, c): ids for c, run in runs.items() for (turn, i, _), ids in run.items()}


def compare(what: str, first: Callable[[], Replies], second: Callable[[], Replies], rounds: int) -> None:
    """Record the time of `second` over that of `first`."""
    seconds: tuple[list[float], list[float]] = ([], [])
    same = 0.0
    for _ in range(rounds):
        replies = []
        for work, times in zip((first, second), seconds, strict=True):
            start = time.process_time()
            replies.append(work())
            times.append(time.process_time() - start)
        same = sum(replies[0][key] == replies[1][key] for key in replies[0]) / len(replies[0])
    record(what, {"in one": seconds[0], f"the other way, {same:.0%} of replies the same": seconds[1]}, "s")


def make_talks(items: int, facts: int) -> list[list[str]]:
    """Questions about invented things, behind some facts that differ from item to item."""
    known = load_questions("facts", limit=items * max(facts, 1))
    _, asked = load_items("nonexist", limit=items)
    talks = []
    for n, item in enumerate(asked):
        context = " ".join(f"{q.text} {q.answers[0]}." for q in known[n * facts : (n + 1) * facts])
        talks.append([f"{context} {item.turns[0]}".strip()])
    return talks


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--facts", type=int, nargs="+", default=[0, 12], help="facts before each question")
    parser.add_argument("--only", default="", help="lines whose words begin like this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(options.model, dtype="float32", device="cpu")
    columns = np.random.default_rng(0).choice(model.shape[0] * model.shape[1], 40, replace=False)
    neurons = NeuronSet.from_columns(model.identity, columns, np.ones(len(columns)), data={})
    for facts in options.facts:
        sweep = Sweep(model, neurons, make_talks(options.items, facts), options.tokens)
        lengths = [len(encode_turns(model.tokenizer, alternate(talk))) for talk in sweep.talks]
        prompts = f"prompts of {min(lengths)} to {max(lengths)} tokens"
        lines: list[tuple[str, Callable[[], Replies], Callable[[], Replies]]] = []
        for scope in ("response", "all"):
            lines.append(
                (f"seven {scope}", lambda s=scope, w=sweep: w.run(ALPHAS, s), lambda s=scope, w=sweep: w.apart(s))  # type: ignore[misc]
            )
        lines.append(
            ("prompts once", lambda w=sweep: w.run(ALPHAS, "response"),  # type: ignore[misc]
             lambda w=sweep: w.run(ALPHAS, "response", kind=EveryPrompt))  # type: ignore[misc]
        )  # fmt: skip
        for scope in ("response", "all"):
            lines.append(
                (f"turns {scope}", lambda s=scope, w=sweep: w.run(ALPHAS, s, turns=2, room=1 << 20),  # type: ignore[misc]
                 lambda s=scope, w=sweep: w.run(ALPHAS, s, turns=2))  # type: ignore[misc]
            )  # fmt: skip
        for what, first, second in lines:
            if what.startswith(options.only):
                compare(f"{what}, {prompts}", first, second, options.rounds)


if __name__ == "__main__":
    main()
