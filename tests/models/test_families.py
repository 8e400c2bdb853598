"""Every dense family: what is drawn and measured beside others is what is drawn and measured alone."""

from typing import Any

import numpy as np
import pytest
import torch

from hneurons.core.errors import UnsupportedModelError
from hneurons.models.language_model import LanguageModel
from hneurons.models.prefill import Prompts, prefill_shared
from hneurons.models.sampling import Branch, Generation, Sampling, generate
from hneurons.neurons.capture import ContributionMeter, Sequence
from support.tiny_families import FAMILIES, WINDOWED, WITHOUT_CACHE, family_model

pytestmark = pytest.mark.slow

START = 12  # tokens that all prompts share
_RNG = np.random.default_rng(0)
_SHARED = _RNG.integers(40, 256, size=START).tolist()
PROMPTS = [[*_SHARED, *_RNG.integers(40, 256, size=length).tolist()] for length in (3, 17, 1)]


def draw_together(model: LanguageModel, prefix: list[int]) -> dict[Branch, Generation]:
    sampling, drawn = Sampling(max_new_tokens=6, seed=1), {}
    ready = Prompts(model, PROMPTS, prefix, prefill_shared(model, prefix), sampling.top_k)
    branches = [Branch(place, (f"q{place}", sample)) for place in range(len(PROMPTS)) for sample in range(2)]

    def keep(branch: Branch, generation: Generation) -> tuple[()]:
        drawn[branch] = generation
        return ()

    generate(model, ready, branches, sampling, frozenset(range(1, 20)), on_done=keep)
    return drawn


@torch.inference_mode()
def assert_as_alone(model: LanguageModel, drawn: dict[Branch, Generation]) -> None:
    """Log-probabilities to 1e-3 (they are kept with 4 decimals) of one plain pass over each whole sequence."""
    assert len(drawn) == 6
    for branch, generation in drawn.items():
        prompt, ids = PROMPTS[branch.prompt], list(generation.token_ids)
        logits = model.model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1].double()
        expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None])[:, 0].tolist()
        np.testing.assert_allclose(generation.logprobs, expected, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_drawn_together_are_those_drawn_alone(family: str) -> None:
    model = family_model(family)
    assert_as_alone(model, draw_together(model, _SHARED))


@pytest.mark.parametrize("shared", [_SHARED, []])
@pytest.mark.parametrize("family", WINDOWED)
def test_a_narrow_window_is_counted_from_each_row_s_own_end(family: str, shared: list[int]) -> None:
    model = family_model(family, window=8)
    assert model.attention_window == 8
    assert_as_alone(model, draw_together(model, shared))


@pytest.mark.parametrize("family", [*FAMILIES, *WITHOUT_CACHE])
def test_contributions_beside_other_examples_are_those_alone(family: str) -> None:
    model = family_model(family)
    sequences = [Sequence(prompt, (list(range(START, len(prompt))),)) for prompt in PROMPTS]
    together = ContributionMeter(model, _SHARED, regions=1).measure(sequences)
    for row, sequence in enumerate(sequences):
        torch.testing.assert_close(together[row], literal_cett(model, sequence)[None], rtol=1e-3, atol=1e-5)


@torch.inference_mode()
def literal_cett(model: LanguageModel, sequence: Sequence) -> torch.Tensor:
    """|z[j,t]| ||W_down[:,j]|| / ||h[t]||, averaged over the region, neuron by neuron as it is written."""
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def hook(layer: int) -> Any:
        def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
            # A copy: some families add to the output in place.
            seen[layer] = inputs[0].reshape(len(sequence.ids), -1), output.clone().reshape(len(sequence.ids), -1)

        return keep

    handles = [ffn.down.register_forward_hook(hook(ffn.layer)) for ffn in model.ffns]
    model.model(torch.tensor([sequence.ids]))
    for handle in handles:
        handle.remove()
    layers = []
    for ffn in model.ffns:
        z, h = seen[ffn.layer]
        norms = torch.stack([column.norm() for column in ffn.columns.T])
        cett = z.abs() * norms / h.norm(dim=-1, keepdim=True)
        layers.append(cett[sequence.regions[0]].mean(dim=0))
    return torch.stack(layers)


@pytest.mark.parametrize("family", WITHOUT_CACHE)
def test_a_family_without_a_cache_is_refused_by_name_for_sampling(family: str) -> None:
    model = family_model(family)
    with pytest.raises(UnsupportedModelError, match=r"openai-gpt\) keeps no cache"):
        prefill_shared(model, _SHARED)
