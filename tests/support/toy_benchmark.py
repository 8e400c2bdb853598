"""A benchmark of nothing, with items, neuron sets and a detector, for tests of the runner and of `bench`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hneurons.benchmarks.benchmark import Benchmark, Item
from hneurons.benchmarks.runner import BenchmarkRun, run_benchmark
from hneurons.detection.detector import Detector
from hneurons.interventions.scaling import ScaleNeurons
from hneurons.models.prompts import alternate, encode_turns
from hneurons.neurons.controls import draw_control
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.records.record import Record

TOKENS = 6


class Toy(Benchmark):
    """Whether a reply has an even number of characters."""

    outcome = "even"
    verdicts = {"EVEN": 1.0, "ODD": 0.0}  # noqa: RUF012

    def read(self, files: Sequence[Path]) -> Iterable[Item]:
        return make_items(5)

    def grade(self, item: Item, record: Record, replies: Sequence[str]) -> Record:
        return replace(record, outcome=float(len(replies[-1]) % 2 == 0), judge="counted")

    def judge_prompt(self, item: Item, reply: str) -> str:
        return f"Is the length of this even? {reply}"


class Talk(Toy):
    """Three turns, the first from the plain model."""

    first_turn_unscaled = True

    def next_turn(self, item: Item, replies: Sequence[str]) -> str | None:
        return ("Are you sure?", "So what is it?")[len(replies) - 1] if len(replies) < 3 else None

    def grade(self, item: Item, record: Record, replies: Sequence[str]) -> Record:
        return replace(record, outcome=1.0, judge=json.dumps(list(replies)))


def make_items(count: int) -> list[Item]:
    words = ["capital of France", "author of Hamlet in the year 1600", "lazy dog", "tea", "quick brown fox", "owner"]
    return [Item(f"i{n}", (f"What about the {words[n]}?",)) for n in range(count)]


def make_sets(model: Any) -> dict[str, NeuronSet]:
    columns = np.array([3, 40, 48, 100, 143])
    chosen = NeuronSet.from_columns(model.identity, columns, np.ones(5), data={})
    return {"h_neurons": chosen, "random_layer_matched_0": draw_control(chosen, "layer_matched")}


def run(model: Any, benchmark: Benchmark | None = None, *, items: int = 5, **options: Any) -> BenchmarkRun:
    settings: dict[str, Any] = {"alphas": (0.0, 1.0, 6.0), "max_new_tokens": TOKENS, **options}
    return run_benchmark(model, "toy", benchmark or Toy(), make_items(items), make_sets(model), **settings)


class ScaledTalk(Talk):
    """Three turns, all of them under the condition."""

    first_turn_unscaled = False


@torch.inference_mode()
def reply_alone(model: Any, turns: Sequence[str], neurons: NeuronSet, alpha: float, **where: Any) -> str:
    ids = encode_turns(model.tokenizer, alternate(turns))
    with ScaleNeurons(model, neurons, alpha, prompt_lengths=len(ids), **where):
        out = model.model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=TOKENS,
            do_sample=False, eos_token_id=1,
        )  # fmt: skip
    new = [i for i in out[0, len(ids) :].tolist() if i != 1]
    return str(model.tokenizer.decode(new, skip_special_tokens=True)).strip()


def make_detector(model: Any) -> Detector:
    columns, ones = np.array([5, 40, 60, 99, 120]), np.ones(5)
    return Detector(model.identity, columns, np.array([9.0, -7, 5, 8, -9]), ones, ones, 0.0, 0.0, {}, {})
