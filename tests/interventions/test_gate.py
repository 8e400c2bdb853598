"""Scaling by running risk: an oracle with edited weights, both ends, rows that change places, and no traces."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from hneurons.core.errors import CaptureError, InputError
from hneurons.detection.detector import Detector
from hneurons.interventions.gate import RiskAbove
from hneurons.interventions.scaling import NeuronScaling, ScaleNeurons
from hneurons.interventions.steering import Steer
from hneurons.models.prefill import Prompts, prefill_shared
from hneurons.models.prompts import common_prefix
from hneurons.models.sampling import Branch, Generation, Sampling, generate
from hneurons.neurons.capture import ContributionMeter, Sequence
from hneurons.neurons.neuron_set import NeuronSet
from support.tiny_models import tiny_model

COLUMNS = np.array([3, 40, 48, 100, 143])  # what is scaled: layers 0, 0, 1, 2, 2 of 48 neurons each
READ = np.array([5, 40, 60, 99, 120])  # what the detector reads; 40 is scaled, too
IDS = torch.tensor([[5, 60, 61, 62, 63, 64, 65], [5, 90, 91, 92, 93, 94, 95]])
STEPS = 10


def neuron_set(model: Any, columns: np.ndarray = COLUMNS) -> NeuronSet:
    width = model.identity.neurons
    layers, places = np.divmod(columns, 48)
    return NeuronSet.from_columns(model.identity, layers * width + places, np.ones(len(columns)), data={})


def make_detector(model: Any, *, intercept: float = 0.0, columns: np.ndarray = READ) -> Detector:
    read = neuron_set(model, columns).columns
    coef = np.array([9.0, -7.0, 5.0, 8.0, -9.0])[: len(read)]
    ones = np.ones(len(read))
    return Detector(model.identity, read, coef, ones, ones, intercept, 0.0, {}, {})


def middle(model: Any) -> float:
    """A threshold that some tokens of greedy replies under scaling are above and some below."""
    risks = np.concatenate([risks for _, _, risks in (draw_with_edits(model, row, 3.0, 0.5) for row in IDS)])
    return float(np.median(risks))


@torch.inference_mode()
def draw_with_edits(
    model: Any, prompt: torch.Tensor, alpha: float, threshold: float, count: int = STEPS, stops: Any = frozenset()
) -> tuple[list[int], list[bool], list[float]]:
    """Tokens, which were scaled, and risks: every token by the plain model or by one with edited W_down.

    Edited weights leave z unscaled and change h, so hooks that read both see what the policy says.
    """
    name = model.name.removeprefix("tiny-")
    edited, detector = tiny_model(name), make_detector(model)
    for layer, neuron in zip(neuron_set(model).layers, neuron_set(model).neurons, strict=True):
        edited.ffns[layer].columns[:, neuron] *= alpha
    norms, cache = model.column_norms, DynamicCache()
    out = model.model(prompt[None], past_key_values=cache, use_cache=True)
    ids, scaled, risks, means = [int(out.logits[0, -1].argmax())], [], [], []
    while len(ids) < count and ids[-1] not in stops:
        risk = math.nan
        if means:
            values = np.mean(means, axis=0).reshape(-1)[detector.columns]
            risk = 1 / (1 + math.exp(-(detector.coef @ values + detector.intercept)))
            risks.append(risk)
        scaled.append(risk > threshold)
        guest, seen = edited if scaled[-1] else model, []
        handles = [
            f.down.register_forward_hook(lambda m, args, h, seen=seen: seen.append((args[0].flatten(), h.flatten())))
            for f in guest.ffns
        ]
        out = guest.model(torch.tensor([[ids[-1]]]), past_key_values=cache, use_cache=True)
        for handle in handles:
            handle.remove()
        means.append([(z.abs() * norms[i] / h.norm()).numpy() for i, (z, h) in enumerate(seen)])
        ids.append(int(out.logits[0, -1].argmax()))
    return ids, scaled, risks


def greedy(model: Any, **options: Any) -> Any:
    return model.model.generate(
        IDS, max_new_tokens=STEPS, do_sample=False, eos_token_id=None, output_scores=True,
        return_dict_in_generate=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3"])
def test_each_row_is_scaled_where_its_own_risk_says_so(family: str) -> None:
    model = tiny_model(family)
    threshold = middle(model)
    expected = [draw_with_edits(model, row, 3.0, threshold) for row in IDS]
    when = RiskAbove(make_detector(model), threshold)
    with ScaleNeurons(model, neuron_set(model), 3.0, prompt_lengths=7, when=when) as scaling:
        found = greedy(model).sequences[:, 7:].tolist()
        counts = [scaling.scaled_tokens(row) for row in range(2)]
    assert found == [ids for ids, _, _ in expected]
    assert counts == [sum(scaled) for _, scaled, _ in expected]
    assert 0 < sum(counts) < 2 * (STEPS - 2)


def test_the_running_risk_is_the_detector_on_the_mean_contributions_of_the_tokens_so_far() -> None:
    model = tiny_model()
    detector = make_detector(model, intercept=-0.3)
    with ScaleNeurons(model, neuron_set(model), 2.0, prompt_lengths=7, when=RiskAbove(detector, 1.0)) as scaling:
        assert math.isnan(scaling.risk(0))
        ids = greedy(model).sequences.tolist()
        risks = [scaling.risk(row) for row in range(2)]
    rows = [Sequence(row, (list(range(7, 6 + STEPS)),)) for row in ids]  # the last token has not been run
    measured = ContributionMeter(model, [], regions=1).measure(rows).numpy().reshape(2, -1)
    odds = measured[:, detector.columns] @ detector.coef + detector.intercept
    assert risks == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-4)


def test_above_1_is_never_and_leaves_every_bit() -> None:
    model = tiny_model()
    plain = greedy(model)
    with ScaleNeurons(model, neuron_set(model), 5.0, prompt_lengths=7, when=RiskAbove(make_detector(model), 1.0)) as s:
        found = greedy(model)
        assert s.scaled_tokens(0) == s.scaled_tokens(1) == 0
    assert torch.equal(found.sequences, plain.sequences)
    assert all(torch.equal(a, b) for a, b in zip(found.scores, plain.scores, strict=True))


@pytest.mark.parametrize(("scope", "same"), [("all", "response"), ("response", "response"), (4, 2)])
def test_above_0_is_constant_scaling_from_the_second_response_token_on(scope: Any, same: Any) -> None:
    model = tiny_model()
    neurons, when = neuron_set(model), RiskAbove(make_detector(model), 0.0)
    with ScaleNeurons(model, neurons, 5.0, scope=scope, prompt_lengths=7, when=when) as scaling:
        found = greedy(model)
        assert scaling.scaled_tokens(0) == (STEPS - 2 if scope != 4 else 2)
    # A response that begins two positions later is scaled from the second token's own position on.
    with ScaleNeurons(model, neurons, 5.0, scope=same, prompt_lengths=9):
        constant = greedy(model)
    assert all(torch.equal(a, b) for a, b in zip(found.scores, constant.scores, strict=True))
    assert not torch.equal(found.sequences, greedy(model).sequences)


def test_prompts_of_different_lengths_padded_on_the_left_are_told_apart() -> None:
    model = tiny_model()
    threshold = middle(model)
    short = IDS[0, :4]
    ids = torch.tensor([[0, 0, 0, *short.tolist()], IDS[1].tolist()])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [1] * 7])
    when = RiskAbove(make_detector(model), threshold)
    with ScaleNeurons(model, neuron_set(model), 3.0, prompt_lengths=[4, 7], when=when):
        out = model.model.generate(ids, attention_mask=mask, max_new_tokens=STEPS, do_sample=False, eos_token_id=None)
    expected = [draw_with_edits(model, row, 3.0, threshold)[0] for row in (short, IDS[1])]
    assert out[:, 7:].tolist() == expected


# Rows of the sampler: taken over by other branches, moved when the batch shrinks, prefilled in between.


def make_prompts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    shared = rng.integers(40, 256, size=5).tolist()
    return [[*shared, *rng.integers(40, 256, size=n).tolist()] for n in (3, 17, 9, 1)]


def draw_sweep(
    model: Any, alphas: list[float], threshold: float, stops: frozenset[int], max_rows: int
) -> dict[tuple[int, int], Any]:
    neurons, prompts = neuron_set(model), make_prompts()
    prefix, sampling = common_prefix(prompts), Sampling(temperature=0, max_new_tokens=STEPS)
    when = RiskAbove(make_detector(model), threshold)
    steering = Steer(model, [NeuronScaling(neurons, alpha, when=when) for alpha in alphas])
    drawn: dict[tuple[int, int], Any] = {}

    def keep(branch: Branch, generation: Generation) -> tuple[Branch, ...]:
        drawn[branch.prompt, branch.condition] = (generation.token_ids, steering.scaled_tokens(branch))
        return ()

    with steering:
        cache = prefill_shared(model, prefix, steering=steering, conditions=len(alphas))
        prepared = Prompts(model, prompts, prefix, cache, 1, steering=steering)
        branches = [Branch(i, (i,), c) for i in range(len(prompts)) for c in range(len(alphas))]
        generate(model, prepared, branches, sampling, stops, on_done=keep, max_rows=max_rows)
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize("max_rows", [3, 5, 128])
def test_the_sweep_in_shared_batches_scales_as_one_response_at_a_time(family: str, max_rows: int) -> None:
    model, alphas = tiny_model(family), [1.0, 0.0, 3.0]
    prompts = [torch.tensor(prompt) for prompt in make_prompts()]
    free = [draw_with_edits(model, row, 3.0, 0.5) for row in prompts]
    threshold = float(np.median(np.concatenate([risks for _, _, risks in free])))
    stops = frozenset((free[0][0][3], free[2][0][6]))  # so that some end early
    drawn = draw_sweep(model, alphas, threshold, stops, max_rows)
    for (prompt, condition), (ids, scaled) in drawn.items():
        expected, where, _ = draw_with_edits(model, prompts[prompt], alphas[condition], threshold, stops=stops)
        assert (list(ids), scaled) == (expected, sum(where)), (prompt, condition)
    assert len({len(ids) for ids, _ in drawn.values()}) > 1
    assert len({count for _, count in drawn.values()}) > 2


# Nothing stacks, nothing leaks.


def test_entering_twice_and_again_starts_every_response_anew() -> None:
    model = tiny_model()
    threshold = middle(model)
    scaling = ScaleNeurons(
        model, neuron_set(model), 3.0, prompt_lengths=7, when=RiskAbove(make_detector(model), threshold)
    )
    found = []
    for _ in range(2):
        with scaling, scaling:
            found.append(greedy(model).sequences)
            found.append(greedy(model).sequences)
    assert all(torch.equal(ids, found[0]) for ids in found)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.model.modules())


@pytest.mark.parametrize("stop_at", [1, 4])
def test_interrupted_generation_leaves_neither_hooks_nor_risk(stop_at: int) -> None:
    model = tiny_model()
    plain = greedy(model).sequences
    when = RiskAbove(make_detector(model), middle(model))
    scaling = ScaleNeurons(model, neuron_set(model), 3.0, prompt_lengths=7, when=when)
    with scaling:
        whole = greedy(model).sequences
    calls = []

    def interrupt(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return scores

    with pytest.raises(KeyboardInterrupt), scaling:
        greedy(model, logits_processor=[interrupt])
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.model.modules())
    assert torch.equal(greedy(model).sequences, plain)
    with scaling:
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            greedy(model, logits_processor=[interrupt])
        assert torch.equal(greedy(model).sequences, whole)


def test_it_composes_with_constant_scaling_whichever_is_entered_first() -> None:
    model = tiny_model()
    others = neuron_set(model, np.array([4, 70]))
    when = RiskAbove(make_detector(model), middle(model))
    found = []
    for first in (True, False):
        conditional = ScaleNeurons(model, neuron_set(model), 3.0, prompt_lengths=7, when=when)
        constant = ScaleNeurons(model, others, 2.0)
        with conditional if first else constant, constant if first else conditional:
            found.append(greedy(model).sequences)
    assert torch.equal(*found)


# What cannot be done is refused.


def test_senseless_thresholds_empty_detectors_and_other_models_are_refused() -> None:
    model = tiny_model()
    for threshold in (-0.1, 1.5, math.nan):
        with pytest.raises(InputError, match="between 0 and 1"):
            RiskAbove(make_detector(model), threshold)
    with pytest.raises(InputError, match="has no neurons"):
        RiskAbove(make_detector(model, columns=READ[:0]), 0.5)
    with pytest.raises(InputError, match="belong to tiny-llama"):
        ScaleNeurons(model, neuron_set(model), 2.0, when=RiskAbove(make_detector(tiny_model(seed=1)), 0.5))


def test_without_prompt_lengths_or_with_several_response_tokens_a_pass_it_says_what_is_needed() -> None:
    model = tiny_model()
    when = RiskAbove(make_detector(model), 0.5)
    with pytest.raises(InputError, match="needs prompt_lengths"), ScaleNeurons(model, neuron_set(model), 2, when=when):
        greedy(model)
    with ScaleNeurons(model, neuron_set(model), 2.0, prompt_lengths=4, when=when):
        with pytest.raises(InputError, match="token by token"), torch.inference_mode():
            model.model(IDS)
        with pytest.raises(InputError, match="token by token"):
            model.model(IDS[:, :5])


def test_a_response_token_out_of_order_is_refused() -> None:
    model = tiny_model()
    when = RiskAbove(make_detector(model), 0.5)
    cache = DynamicCache()
    with torch.inference_mode():
        model.model(IDS, past_key_values=cache, use_cache=True)
        with (
            pytest.raises(InputError, match=r"token 4 of a response came when 0 had been run"),
            ScaleNeurons(model, neuron_set(model), 2.0, prompt_lengths=4, when=when),
        ):
            model.model(torch.tensor([[7], [8]]), past_key_values=cache, use_cache=True)


def test_a_measuring_hook_that_another_library_removed_is_an_error() -> None:
    model = tiny_model()
    when = RiskAbove(make_detector(model), 0.5)
    with (
        pytest.raises(CaptureError, match="not measured in every layer"),
        ScaleNeurons(model, neuron_set(model), 2.0, prompt_lengths=7, when=when),
    ):
        model.ffns[1].down._forward_hooks.clear()
        greedy(model)
