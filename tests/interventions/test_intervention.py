"""Interventions: one of another kind goes through runner, results and manifest, though nothing there knows it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hneurons.audits import load_run
from hneurons.benchmarks.benchmark import Benchmark, Item
from hneurons.benchmarks.results import BenchmarkResult, summarize_run
from hneurons.benchmarks.runner import run_benchmark
from hneurons.core.errors import ArtifactError, InputError
from hneurons.interventions.export import export_intervention
from hneurons.interventions.gate import RiskAbove
from hneurons.interventions.intervention import Edit, Intervention, Rows, Scope, Untouched, is_no_op, prompt_reach
from hneurons.interventions.scaling import NeuronScaling
from hneurons.interventions.steering import Steer
from hneurons.models.language_model import LanguageModel
from hneurons.models.prefill import Prompts, prefill_shared
from hneurons.models.prompts import common_prefix
from hneurons.models.sampling import Branch, Sampling, generate
from hneurons.neurons.neuron_set import NeuronSet
from support.tiny_models import tiny_model

IDS = torch.tensor([[5, 60, 61, 62, 63, 64, 65], [5, 90, 91, 92, 93, 94, 95]])
TOKENS = 6


@dataclass(frozen=True)
class PushResidual:
    """Add alpha times a vector to the output of one decoder layer."""

    layer: int
    vector: tuple[float, ...]
    alpha: float = 0.0
    scope: Scope = "all"
    when: RiskAbove | None = None
    kind: str = "selected"

    @property
    def no_op(self) -> float:
        return 0.0

    def at(self, alpha: float) -> "PushResidual":
        return replace(self, alpha=alpha)

    def identity(self) -> Any:
        return {"push": self.layer, "vector": list(self.vector)}

    def check_model(self, model: LanguageModel) -> None:
        if self.layer >= len(model.ffns):
            raise InputError(f"the model has no layer {self.layer}")

    @classmethod
    def edits(cls, model: LanguageModel, conditions: Sequence["PushResidual | None"], rows: Rows) -> list[Edit]:
        found = []
        for layer in sorted({one.layer for one in conditions if one is not None}):
            own = [one if one is not None and one.layer == layer else None for one in conditions]
            table = torch.stack([torch.tensor(one.vector) * one.alpha if one else torch.zeros(32) for one in own])

            def push(hidden: Tensor, table: Tensor = table) -> Tensor:
                return hidden + rows.spread(table, hidden, 0.0)

            found.append(Edit(model.decoder.layers[layer], "output", push))  # type: ignore[index, union-attr]
        return found


def vector(seed: int = 0) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).normal(0, 0.5, 32).tolist())


def neuron_set(model: LanguageModel) -> NeuronSet:
    return NeuronSet.from_columns(model.identity, np.array([3, 40, 48, 100, 143]), np.ones(5), data={})


class Toy(Benchmark):
    """Whether a reply has an even number of characters."""

    outcome = "even"

    def grade(self, item: Item, record: Any, replies: Sequence[str]) -> Any:
        return replace(record, outcome=float(len(replies[-1]) % 2 == 0), judge="counted")


def items() -> list[Item]:
    words = ["capital of France", "author of Hamlet in the year 1600", "lazy dog", "tea"]
    return [Item(f"i{n}", (f"What about the {word}?",)) for n, word in enumerate(words)]


def run(model: LanguageModel, given: dict[str, Intervention], **options: Any) -> Any:
    settings = {"alphas": (-1.0, 0.0, 2.0), "max_new_tokens": TOKENS, **options}
    return run_benchmark(model, "toy", Toy(), items(), given, **settings)


@torch.inference_mode()
def logits_pushed(model: LanguageModel, layer: int, push: Tensor, ids: Tensor = IDS) -> Tensor:
    """The oracle: a plain hook that adds `push` [tokens, 32] or [32]."""
    handle = model.decoder.layers[
        layer
    ].register_forward_hook(  # type: ignore[index, union-attr]
        lambda module, args, output: (output[0] + push, *output[1:]) if isinstance(output, tuple) else output + push
    )
    try:
        return model.model(ids).logits
    finally:
        handle.remove()


@torch.inference_mode()
def logits(model: LanguageModel, conditions: Any = (), **options: Any) -> Tensor:
    with Steer(model, conditions or [Untouched()], **options):
        return model.model(IDS).logits


def greedy_alone(model: LanguageModel, prompt: list[int], one: Intervention, count: int) -> tuple[int, ...]:
    ids = list(prompt)
    while len(ids) < len(prompt) + count:
        with torch.inference_mode(), Steer(model, one, prompt_lengths=len(prompt)):
            ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[len(prompt) :])


def test_another_kind_of_intervention_adds_what_a_hook_of_its_own_adds() -> None:
    model, push = tiny_model(), torch.tensor(vector())
    found = logits(model, PushResidual(1, vector(), 2.0))
    assert torch.equal(found, logits_pushed(model, 1, 2.0 * push))
    assert torch.equal(logits(model, PushResidual(1, vector(), 0.0)), logits(model))
    within = torch.zeros(7, 32)
    within[6:] = 2.0 * push
    one = PushResidual(1, vector(), 2.0, scope="response")
    assert torch.equal(logits(model, one, prompt_lengths=7), logits_pushed(model, 1, within))


@pytest.mark.slow
def test_it_goes_through_the_runner_results_manifest_and_audits(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    given: dict[str, Intervention] = {
        "push": PushResidual(1, vector()),
        "random_push_0": PushResidual(1, vector(1), kind="random_push"),
    }
    done = run(model, given, out=tmp_path)
    assert len(done.records) == 4 * 2 * 3
    assert (done.settings.no_op, done.settings.scaling) == (0.0, "additive")
    assert {name: c.kind for name, c in done.settings.conditions.items()} == {
        "push": "selected",
        "random_push_0": "random_push",
    }
    by_cell = {record.cell: record for record in done.records}
    for (label, item, alpha), record in by_cell.items():
        alone = run(model, {label: given[label]}, alphas=(alpha,))
        assert record.response == next(r.response for r in alone.records if (r.id, r.alpha) == (item, alpha))
    assert len({record.response for record in done.records if record.id == "i1"}) > 2
    plain = run(model, {"scaled": NeuronScaling(neuron_set(model))}, alphas=(1.0,))
    assert [r.response for r in plain.records] == [
        r.response for r in done.records if r.alpha == 0 and r.condition == "push"
    ]
    result = summarize_run(done)
    assert [at.alpha for at in result.selected.alphas] == [-1.0, 0.0, 2.0]
    assert result.selected.alphas[1].change.value == 0
    assert result.against[0].kind == "push"
    assert BenchmarkResult.from_row(json.loads(json.dumps(result.to_row()))) == result
    assert load_run(tmp_path).settings == done.settings
    assert run(model, given, out=tmp_path) == done
    with pytest.raises(ArtifactError, match="neurons"):
        run(model, {**given, "push": PushResidual(1, vector(2))}, out=tmp_path)


@pytest.mark.parametrize("scope", ["all", "response", 2])
def test_different_kinds_share_a_batch_and_leave_each_others_rows_alone(scope: Any) -> None:
    model, neurons = tiny_model(), neuron_set(tiny_model())
    conditions: list[Intervention] = [
        Untouched(),
        NeuronScaling(neurons, 4.0, scope=scope),
        PushResidual(1, vector(), 2.0, scope=scope),
        PushResidual(0, vector(1), 1.0),
    ]
    rng = np.random.default_rng(0)
    prompts = [[5, 6, *rng.integers(40, 256, size=n).tolist()] for n in (3, 17, 9)]
    drawn: dict[tuple[int, int], tuple[int, ...]] = {}
    steering, prefix = Steer(model, conditions), common_prefix(prompts)
    with steering:
        cache = prefill_shared(model, prefix, steering=steering, conditions=4)
        ready = Prompts(model, prompts, prefix, cache, 1, steering=steering)
        branches = [Branch(i, (i,), c) for i in range(3) for c in range(4)]
        generate(
            model, ready, branches, Sampling(temperature=0, max_new_tokens=8), frozenset(),
            on_done=lambda b, g: drawn.__setitem__((b.prompt, b.condition), g.token_ids) or (), max_rows=5,
        )  # fmt: skip
    for (prompt, condition), ids in drawn.items():
        assert ids == greedy_alone(model, prompts[prompt], conditions[condition], 8), (prompt, condition)


def test_an_intervention_says_whether_it_can_touch_the_prompt() -> None:
    push = PushResidual(1, vector(), 2.0)
    assert prompt_reach(push) is None
    assert prompt_reach(replace(push, scope="response")) == prompt_reach(replace(push, scope=3)) == 1
    assert prompt_reach(Untouched()) == 0
    assert is_no_op(push.at(0.0)) and not is_no_op(push) and is_no_op(Untouched())
    model = tiny_model()
    assert Steer(model, [Untouched(), replace(push, scope=1)]).reach == 1
    assert Steer(model, [push, replace(push, scope=1)]).reach is None
    # What it says holds: with scope "response" only the prompt's last position changes, with "all" more than that.
    plain, found = logits(model), logits(model, replace(push, scope="response"), prompt_lengths=7)
    assert torch.equal(plain[:, :6], found[:, :6]) and not torch.equal(plain[:, 6], found[:, 6])
    assert not torch.equal(plain[:, :6], logits(model, push)[:, :6])


def test_what_cannot_share_a_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    model = tiny_model(chat=True)
    scaling, push = NeuronScaling(neuron_set(model)), PushResidual(1, vector())
    with pytest.raises(InputError, match="run them apart"):
        run(model, {"scaled": scaling, "push": push})
    with pytest.raises(InputError, match="'push': the model has no layer 7"):
        run(model, {"push": replace(push, layer=7)})
    with pytest.raises(InputError, match="nothing to do"):
        run(model, {})
    for one in (push, replace(scaling, scope="response")):
        with pytest.raises(InputError, match="more than a change of weights"):
            export_intervention(one, model="m", out=tmp_path / "x", format="lora")
    with pytest.raises(InputError, match="finite"):
        scaling.at(float("inf"))
