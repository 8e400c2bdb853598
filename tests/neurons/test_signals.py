"""Signals: each against its definition, a new one from one class, and none taken for another."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hneurons.core.errors import InputError
from hneurons.detection.detector import Detector
from hneurons.detection.evaluation import evaluate_detector
from hneurons.detection.fitting import fit_detector
from hneurons.interventions.gate import RiskAbove
from hneurons.interventions.scaling import ScaleNeurons
from hneurons.models.prompts import PromptStyle
from hneurons.neurons.capture import ContributionMeter, Sequence
from hneurons.neurons.contributions import measure_contributions
from hneurons.neurons.controls import mean_contributions
from hneurons.neurons.signals import SIGNALS
from support.planted import make_dataset, make_example
from support.tiny_models import tiny_model

IDS = [5, 60, 61, 62, 63]


class FirstInputs:
    """A signal of three columns a layer: z itself, sign included, doubled."""

    def width(self, model: Any) -> int:
        return 3

    def read(self, layer: int, z: Tensor, h: Tensor, columns: Tensor | None = None) -> Tensor:
        kept = z[..., :3].float()
        return kept if columns is None else kept[..., columns]

    def divisor(self, h: Tensor) -> Tensor | None:
        return None

    def scale(self, model: Any) -> Tensor | None:
        return torch.full((model.shape[0], 3), 2.0)


@pytest.fixture
def new_signal(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(SIGNALS, "_items", dict(SIGNALS._items))
    SIGNALS.register("first")(FirstInputs())
    return "first"


@torch.inference_mode()
def inputs_of(model: Any, ids: list[int]) -> Tensor:
    """z of every token, [tokens, layers, neurons]."""
    seen: list[Tensor] = []
    handles = [
        f.down.register_forward_hook(lambda m, a, o: seen.append(a[0].reshape(len(ids), -1))) for f in model.ffns
    ]
    model.model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return torch.stack(seen, dim=1)


@pytest.mark.parametrize("prefix", [0, 2])
def test_the_size_of_z_is_the_mean_of_z_over_the_region(prefix: int) -> None:
    model = tiny_model("llama")
    meter = ContributionMeter(model, IDS[:prefix], signal="abs-z")
    found = meter.measure([Sequence(IDS, ([2, 3], [0, 1, 4]))])[0]
    z = inputs_of(model, IDS).abs()
    torch.testing.assert_close(found[0], z[[2, 3]].mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[1], z[[0, 1, 4]].mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("new_signal")
def test_a_registered_signal_is_measured_with_its_own_columns() -> None:
    model = tiny_model("gpt2")
    examples = [make_example(i, wrong=bool(i % 2), token_ids=(50 + i, 60, 70 + i)) for i in range(4)]
    found = measure_contributions(model, examples, style=PromptStyle(), signal="first")
    assert (found.signal, found.shape) == ("first", (model.shape[0], 3))
    row = found.rows[0]
    example = next(e for e in examples if e.id == row["example_id"])
    prompt = model.encode(example.question.text, PromptStyle())
    z = inputs_of(model, [*prompt, *example.response.token_ids])[len(prompt) :][:2, :, :3]
    assert row["region"] == "answer" and found.values is not None
    np.testing.assert_allclose(found.values[0], 2 * z.mean(0).flatten().numpy(), rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(
        mean_contributions(model, [IDS], signal="first"),
        2 * inputs_of(model, IDS)[:, :, :3].mean(0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_running_risk_reads_the_signal_of_its_detector() -> None:
    model, columns = tiny_model("llama"), np.array([5, 40, 60, 99, 120])
    coef = np.array([9.0, -7.0, 5.0, 8.0, -9.0])
    detector = Detector(
        model.identity, columns, coef, np.ones(5), np.full(5, np.nan), 0.5, 0.0, {}, {"signal": "abs-z"}
    )
    scaling = ScaleNeurons(model, detector.neuron_set(), 1.0, prompt_lengths=[2], when=RiskAbove(detector, 1.0))
    cache: Any = None
    with torch.inference_mode(), scaling:
        for piece in (IDS[:2], *([i] for i in IDS[2:])):
            out = model.model(torch.tensor([piece]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
    z = inputs_of(model, IDS)[2:].abs().mean(0).flatten()[columns].double().numpy()
    assert scaling.risk(0) == pytest.approx(1 / (1 + np.exp(-(coef @ z + 0.5))), rel=1e-4)


def test_one_signal_is_not_taken_for_another() -> None:
    train, test = make_dataset(60, planted={(0, 7): 2.0}), make_dataset(40, planted={(0, 7): 2.0}, prefix="t", seed=9)
    detector = fit_detector(train.contributions, subsamples=0)
    assert detector.signal == detector.neuron_set().signal == train.contributions.signal == "cett"
    manifest = test.contributions.manifest
    other = replace(manifest, settings={**manifest.settings, "signal": "abs-z"})
    test = test._replace(contributions=replace(test.contributions, manifest=other))
    with pytest.raises(InputError, match=r"reads the signal 'cett', the contributions of 'new' hold 'abs-z'"):
        evaluate_detector(detector, train, {"new": test})
    with pytest.raises(InputError, match="unknown signal 'loudness': known are abs-z, cett"):
        measure_contributions(tiny_model("llama"), [], style=PromptStyle(), signal="loudness")


def test_the_signal_is_part_of_what_was_measured_and_cett_is_as_before_there_was_a_choice() -> None:
    model, examples = tiny_model("llama"), [make_example(i, wrong=bool(i % 2)) for i in range(4)]
    plain = measure_contributions(model, examples, style=PromptStyle())
    other = measure_contributions(model, examples, style=PromptStyle(), signal="abs-z")
    assert plain.content != other.content
    assert "signal" not in plain.manifest.settings and other.manifest.settings["signal"] == "abs-z"


def test_a_signal_of_features_is_not_fitted_as_one_of_neurons() -> None:
    found = make_dataset(20, shape=(3, 40)).contributions
    with pytest.raises(InputError, match="has 39 columns a layer, and synthetic has 40 neurons"):
        fit_detector(replace(found, shape=(3, 39)))
