"""Norms of quantised down-projections are those of the weights they stand for, or the layer is refused by name."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hneurons.core.errors import UnsupportedModelError
from hneurons.interventions.scaling import ScaleNeurons
from hneurons.models.ffn import FFN, find_ffns
from hneurons.models.language_model import LanguageModel
from hneurons.neurons.capture import ContributionMeter, Sequence
from hneurons.neurons.neuron_set import NeuronSet
from support.quantised import KINDS, Quantised
from support.tiny_models import tiny_tokenizer, tiny_transformer


def quantise(kind: str) -> tuple[Any, list[Quantised]]:
    """A tiny model whose down-projections are quantised in this way."""
    model, made = tiny_transformer("llama"), []
    for layer in model.model.layers:
        made.append(KINDS[kind](layer.mlp.down_proj.weight.detach()))
        layer.mlp.down_proj = made[-1].module
    return model, made


@pytest.mark.parametrize("kind", KINDS)
def test_columns_and_norms_are_those_of_the_weights_it_stands_for(kind: str) -> None:
    model, made = quantise(kind)
    calls: list[object] = []
    for ffn, quantised in zip(find_ffns(model), made, strict=True):
        ffn.down.register_forward_hook(lambda *args: calls.append(args))
        close = 1e-3 if kind == "gptq" else 1e-5  # its scales, and so what it answers in, are float16
        torch.testing.assert_close(ffn.columns.float(), quantised.weight, rtol=close, atol=1e-6)
        torch.testing.assert_close(ffn.column_norms(), quantised.weight.norm(dim=0), rtol=close, atol=1e-6)
    assert not calls, "asking for norms runs no hook"


@pytest.mark.parametrize("kind", ["bitsandbytes int8", "bitsandbytes nf4", "gptq", "compressed-tensors", "an adapter"])
def test_contributions_follow_the_definition_and_scaling_works(kind: str) -> None:
    transformer, made = quantise(kind)
    model = LanguageModel(transformer, tiny_tokenizer(), name="m")
    ids, seen = [3, 4, 5, 6], []
    for ffn in model.ffns:
        ffn.down.register_forward_hook(lambda module, given, out: seen.append((given[0][0], out[0])))
    measured = ContributionMeter(model, []).measure([Sequence(ids, ((2,),))])
    literal = torch.cat([
        z[2].abs() * q.weight.norm(dim=0) / h[2].norm() for (z, h), q in zip(seen, made, strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(torch.as_tensor(measured).float().flatten(), literal.float(), rtol=2e-3, atol=1e-4)
    neurons = NeuronSet.from_columns(model.identity, np.array([1, 60]), np.ones(2), data={})
    with torch.inference_mode():
        plain = transformer(torch.tensor([ids])).logits
        with ScaleNeurons(model, neurons, 0.0):
            assert not torch.equal(transformer(torch.tensor([ids])).logits, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_weights_have_an_identity_that_sees_their_codes_and_scales(kind: str) -> None:
    model, _ = quantise(kind)
    before = LanguageModel(model, tiny_tokenizer(), name="m").identity
    assert before == LanguageModel(quantise(kind)[0], tiny_tokenizer(), name="m").identity or kind == "an adapter"
    for tensor in model.model.layers[1].mlp.down_proj.state_dict().values():
        raw = tensor.reshape(-1).view(torch.uint8).view(tensor.numel(), -1)
        kept = raw.clone()
        raw.copy_(raw.roll(1, 0))
        if not torch.equal(raw, kept):
            assert not before.same_weights(LanguageModel(model, tiny_tokenizer(), name="m").identity)
        raw.copy_(kept)


class KernelOnGPU(nn.Linear):
    """A layer whose packed weights no code here can read."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("No kernel for CPU\nDetails follow")


def packed() -> nn.Module:
    module = KernelOnGPU(48, 32, bias=False)
    module.weight = nn.Parameter(torch.zeros(768, 1, dtype=torch.uint8), requires_grad=False)
    return module


def float8_without_scales() -> nn.Module:
    module = nn.Linear(48, 32, bias=False)
    module.weight = nn.Parameter(module.weight.to(torch.float8_e4m3fn), requires_grad=False)
    return module


def float8_with_scales_of_another_shape() -> nn.Module:
    module = KINDS["float8 blocks"](torch.randn(32, 48)).module
    module.weight_scale_inv = nn.Parameter(torch.ones(5, 7))
    return module


def answers_nonsense() -> nn.Module:
    module = KernelOnGPU(48, 32, bias=False)
    module.forward = lambda x: torch.full((*x.shape[:-1], 32), math.nan)  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize(
    "make",
    [packed, float8_without_scales, float8_with_scales_of_another_shape, answers_nonsense],
    ids=lambda make: make.__name__,
)
def test_what_cannot_be_dequantised_is_refused_by_name(make: Any) -> None:
    ffn = FFN(0, "layers.0.mlp.down_proj", make(), 48, 32)
    with pytest.raises(
        UnsupportedModelError, match=r"layers\.0\.mlp\.down_proj .*cannot be dequantised here"
    ) as caught:
        ffn.column_norms()
    assert "\n" not in str(caught.value)


def test_a_packed_layer_that_is_not_found_names_its_quantiser() -> None:
    model = tiny_transformer("llama")
    model.config.quantization_config = type("Config", (), {"quant_method": "spqr"})()
    for layer in model.model.layers:
        layer.mlp.down_proj = nn.Identity()
    with pytest.raises(UnsupportedModelError, match="quantised by spqr: load it unquantised"):
        find_ffns(model)
