"""Scaling neurons: identities with weight edits and with the untouched model, scopes, rows, and nothing left behind."""

from typing import Any

import numpy as np
import pytest
import torch

from hneurons.core.errors import CaptureError, InputError
from hneurons.interventions.intervention import Untouched
from hneurons.interventions.scaling import NeuronScaling, ScaleNeurons
from hneurons.interventions.steering import Steer
from hneurons.models.prefill import Prompts, prefill_shared
from hneurons.models.prompts import common_prefix
from hneurons.models.sampling import Branch, Generation, Sampling, generate
from hneurons.neurons.neuron_set import NeuronSet
from support.tiny_models import DENSE, SHELLS, tiny_model

COLUMNS = np.array([3, 40, 48, 100, 143])  # layers 0, 0, 1, 2, 2 of 48 neurons each
IDS = torch.tensor([[5, 60, 61, 62, 63, 64, 65], [5, 90, 91, 92, 93, 94, 95]])
STOPS = frozenset(range(1, 40))


def neuron_set(model: Any, columns: np.ndarray = COLUMNS) -> NeuronSet:
    width = model.identity.neurons
    layers, places = np.divmod(columns, 48)  # the same places in models that are wider
    return NeuronSet.from_columns(model.identity, layers * width + places, np.arange(len(columns), 0.0, -1.0), data={})


@torch.inference_mode()
def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    return model.model(ids).logits


def edit_weights(model: Any, neurons: NeuronSet, alpha: np.ndarray) -> None:
    with torch.no_grad():
        for layer, neuron, factor in zip(neurons.layers, neurons.neurons, alpha, strict=True):
            model.ffns[layer].columns[:, neuron] *= float(factor)


@pytest.mark.parametrize("family", [*DENSE, *SHELLS])
def test_a_hook_equals_scaled_columns_of_the_down_projection(family: str) -> None:
    model, edited = tiny_model(family), tiny_model(family)
    neurons = neuron_set(model)
    before = logits(model)
    with ScaleNeurons(model, neurons, 3.0):
        scaled = logits(model)
    edit_weights(edited, neurons, np.full(5, 3.0))
    torch.testing.assert_close(scaled, logits(edited), rtol=1e-4, atol=1e-4)
    assert (scaled - before).abs().max() > 0.01
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3"])
def test_alpha_1_changes_no_bit(family: str) -> None:
    model = tiny_model(family)
    before = logits(model)
    with ScaleNeurons(model, neuron_set(model), 1.0):
        assert torch.equal(logits(model), before)
    with ScaleNeurons(model, neuron_set(model), torch.tensor([[1.0], [2.0]])):
        mixed = logits(model)
    assert torch.equal(mixed[0], before[0])
    assert not torch.equal(mixed[1], before[1])


def test_alpha_1_changes_no_bit_in_low_precision() -> None:
    model = tiny_model("llama")
    model.model.to(torch.bfloat16)
    before = logits(model)
    with ScaleNeurons(model, neuron_set(model), 1.0):
        assert torch.equal(logits(model), before)


def test_every_neuron_may_have_its_own_alpha() -> None:
    model, edited = tiny_model(), tiny_model()
    alpha = [0.0, 0.5, 1.0, 2.0, -1.5]
    neurons = neuron_set(model)
    with ScaleNeurons(model, neurons, alpha):
        scaled = logits(model)
    edit_weights(edited, neurons, np.array(alpha))
    torch.testing.assert_close(scaled, logits(edited), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_every_row_may_have_its_own_alpha(family: str) -> None:
    model = tiny_model(family)
    neurons = neuron_set(model)
    with ScaleNeurons(model, neurons, torch.tensor([[0.0], [2.5]])):
        together = logits(model)
    for row, alpha in enumerate((0.0, 2.5)):
        with ScaleNeurons(model, neurons, alpha):
            torch.testing.assert_close(logits(model, IDS[row : row + 1])[0], together[row], rtol=1e-4, atol=1e-4)


def test_two_scalings_multiply() -> None:
    model = tiny_model()
    neurons = neuron_set(model)
    with ScaleNeurons(model, neurons, 2.0), ScaleNeurons(model, neurons, 1.5):
        both = logits(model)
    with ScaleNeurons(model, neurons, 3.0):
        torch.testing.assert_close(logits(model), both, rtol=1e-5, atol=1e-5)


def test_entering_twice_scales_once_and_leaves_nothing() -> None:
    model = tiny_model()
    before, scaling = logits(model), ScaleNeurons(model, neuron_set(model), 2.0)
    with scaling:
        once = logits(model)
        with scaling:
            assert torch.equal(logits(model), once)
        assert torch.equal(logits(model), once)
    assert torch.equal(logits(model), before)
    with scaling:
        assert torch.equal(logits(model), once)
    assert no_hooks(model)


def no_hooks(model: Any) -> bool:
    return not any(m._forward_pre_hooks or m._forward_hooks for m in model.model.modules())


def test_an_exception_inside_leaves_nothing() -> None:
    model = tiny_model()
    before = logits(model)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), ScaleNeurons(model, neuron_set(model), 2.0):
            logits(model)
            raise error
    assert no_hooks(model)
    assert torch.equal(logits(model), before)


def test_generation_interrupted_in_the_middle_leaves_nothing() -> None:
    model = tiny_model()
    before = logits(model)
    calls = []

    def interrupt(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return scores

    with pytest.raises(KeyboardInterrupt), ScaleNeurons(model, neuron_set(model), 2.0):
        model.model.generate(IDS, max_new_tokens=9, do_sample=False, logits_processor=[interrupt])
    assert no_hooks(model)
    assert torch.equal(logits(model), before)


def test_hooks_stand_on_the_chosen_layers_only() -> None:
    model = tiny_model()
    with ScaleNeurons(model, neuron_set(model, np.array([3, 143])), 2.0):
        hooked = [bool(ffn.down._forward_pre_hooks) for ffn in model.ffns]
    assert hooked == [True, False, True]


def test_hooks_that_another_library_removed_are_an_error_not_a_null_result() -> None:
    model = tiny_model()
    with pytest.raises(CaptureError, match="without being changed"), ScaleNeurons(model, neuron_set(model), 2.0):
        model.ffns[0].down._forward_pre_hooks.clear()
        logits(model)


def test_neurons_of_another_model_are_refused_with_the_reason() -> None:
    neurons = neuron_set(tiny_model(seed=1))
    with pytest.raises(InputError, match=r"belong to tiny-llama.*weights"):
        ScaleNeurons(tiny_model(), neurons, 2.0)
    with pytest.raises(InputError, match="belong to"):
        Steer(tiny_model(), [Untouched(), NeuronScaling(neurons, 2.0)])


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        ([1.0, 2.0], "5 numbers"),
        ("much", "a number"),
        ([], "a number"),
    ],
)
def test_an_alpha_that_makes_no_sense_is_refused(alpha: Any, message: str) -> None:
    model = tiny_model()
    with pytest.raises(InputError, match=message):
        ScaleNeurons(model, neuron_set(model), alpha)


def test_an_empty_set_and_a_neuron_named_twice_are_refused() -> None:
    model = tiny_model()
    with pytest.raises(InputError, match="empty"):
        ScaleNeurons(model, neuron_set(model, np.array([], dtype=np.int64)), 2.0)
    with pytest.raises(InputError, match="twice"):
        ScaleNeurons(model, neuron_set(model, np.array([3, 3])), 2.0)


def test_more_rows_of_alpha_than_the_batch_has_are_refused() -> None:
    model = tiny_model()
    with pytest.raises(InputError, match="3 rows"), ScaleNeurons(model, neuron_set(model), torch.ones(3, 1)):
        logits(model)


def scaled_positions(model: Any, scope: Any, length: int, alpha: float = 0.0) -> list[bool]:
    """Which positions of layer 0's down-projection input differ from the plain model, in one pass over IDS."""
    seen: list[torch.Tensor] = []
    handle = model.ffns[0].down.register_forward_hook(lambda m, args, out: seen.append(args[0][..., 3].clone()))
    logits(model)
    with ScaleNeurons(model, neuron_set(model), alpha, scope=scope, prompt_lengths=length):
        logits(model)
    handle.remove()
    changed = (seen[0] != seen[1]).reshape(2, -1)
    assert torch.equal(changed[0], changed[1])
    return changed[0].tolist()


def test_scope_covers_the_positions_that_predict_the_response() -> None:
    model = tiny_model()
    assert scaled_positions(model, "all", 4) == [True] * 7
    assert scaled_positions(model, "response", 4) == [False] * 3 + [True] * 4
    assert scaled_positions(model, 2, 4) == [False] * 3 + [True] * 2 + [False] * 2


@pytest.mark.parametrize("scope", ["response", 3])
def test_cached_generation_scales_what_a_whole_pass_over_the_same_tokens_scales(scope: Any) -> None:
    model = tiny_model()
    neurons = neuron_set(model)
    with ScaleNeurons(model, neurons, 4.0, scope=scope, prompt_lengths=7):
        out = model.model.generate(
            IDS, max_new_tokens=8, do_sample=False, output_scores=True, return_dict_in_generate=True, eos_token_id=None
        )
        whole = logits(model, out.sequences)
    torch.testing.assert_close(whole[:, 6:-1], torch.stack(out.scores, 1), rtol=1e-3, atol=1e-3)
    plain = logits(model, out.sequences)
    assert torch.equal(plain[:, :6], whole[:, :6])
    assert not torch.equal(plain[:, 6], whole[:, 6])


def test_a_scope_without_prompt_lengths_or_of_zero_tokens_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(InputError, match="prompt_lengths"), ScaleNeurons(model, neuron_set(model), 2.0, scope=2):
        logits(model)
    with pytest.raises(InputError, match="from 1 on"):
        ScaleNeurons(model, neuron_set(model), 2.0, scope=0)


# The sweep: rows of one batch under different neuron sets and alphas, by the sampler.


def make_prompts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    shared = rng.integers(40, 256, size=5).tolist()
    return [[*shared, *rng.integers(40, 256, size=n).tolist()] for n in (3, 17, 9)]


def draw_sweep(
    model: Any,
    conditions: list[tuple[NeuronSet | None, float]],
    *,
    scope: Any = "all",
    share: bool = True,
    sampling: Sampling | None = None,
    max_rows: int = 128,
) -> dict[tuple[int, int], Generation]:
    prompts = make_prompts()
    sampling = sampling or Sampling(temperature=0, max_new_tokens=9)
    prefix = common_prefix(prompts) if share else []
    steering = Steer(
        model, [Untouched() if n is None else NeuronScaling(n, alpha, scope=scope) for n, alpha in conditions]
    )
    drawn: dict[tuple[int, int], Generation] = {}
    with steering:
        cache = prefill_shared(model, prefix, steering=steering, conditions=len(conditions))
        prepared = Prompts(model, prompts, prefix, cache, sampling.top_k, steering=steering)
        branches = [Branch(i, (i,), c) for i in range(len(prompts)) for c in range(len(conditions))]
        generate(
            model,
            prepared,
            branches,
            sampling,
            STOPS,
            on_done=lambda b, g: drawn.__setitem__((b.prompt, b.condition), g) or (),
            max_rows=max_rows,
        )
    assert len(drawn) == len(branches)
    return drawn


@torch.inference_mode()
def draw_alone(
    model: Any, neurons: NeuronSet | None, alpha: float, scope: Any, prompt: list[int], count: int
) -> list[int]:
    """Greedy decoding by whole passes, one sequence at a time, one intervention at a time: no cache, no batch."""
    ids = list(prompt)
    while len(ids) < len(prompt) + count:
        if neurons is None:
            found = logits(model, torch.tensor([ids]))
        else:
            with ScaleNeurons(model, neurons, alpha, scope=scope, prompt_lengths=len(prompt)):
                found = logits(model, torch.tensor([ids]))
        ids.append(int(found[0, -1].argmax()))
        if ids[-1] in STOPS:
            break
    return ids[len(prompt) :]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3"])
@pytest.mark.parametrize("scope", ["all", "response", 3])
@pytest.mark.parametrize("share", [True, False])
def test_the_sweep_in_one_batch_gives_the_tokens_of_separate_runs(family: str, scope: Any, share: bool) -> None:
    model = tiny_model(family)
    first, second = neuron_set(model), neuron_set(model, np.array([3, 50, 51, 99]))
    conditions = [(None, 1.0), (first, 0.0), (first, 4.0), (second, 0.0), (second, 4.0), (first, 1.0)]
    drawn = draw_sweep(model, conditions, scope=scope, share=share, max_rows=7)
    for (prompt, place), generation in drawn.items():
        neurons, alpha = conditions[place]
        expected = draw_alone(model, neurons, alpha, scope, make_prompts()[prompt], 9)
        assert list(generation.token_ids) == expected, (prompt, place)
    assert all(drawn[p, 0] == drawn[p, 5] for p in range(3))
    assert len({drawn[p, c].token_ids for p in range(3) for c in range(5)}) > 5


def test_a_plain_row_beside_scaled_rows_is_drawn_as_without_them() -> None:
    model = tiny_model()
    first = neuron_set(model)
    sampling = Sampling(max_new_tokens=8, seed=2)
    mixed = draw_sweep(model, [(None, 1.0), (first, 0.0), (first, 5.0)], sampling=sampling)
    plain = draw_sweep(model, [(None, 1.0)], sampling=sampling)
    assert all(mixed[p, 0].token_ids == plain[p, 0].token_ids for p in range(3))
    assert no_hooks(model)
