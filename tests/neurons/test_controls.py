"""Random controls: as many, none selected, alike where they are to be alike, the same again for the same seed."""

from typing import Any

import numpy as np
import pytest
import torch

from hneurons.core.errors import InputError
from hneurons.core.types import ModelIdentity
from hneurons.neurons.controls import (
    CONTROL_KINDS,
    control_rng,
    draw_control,
    draw_sets,
    draw_subsets,
    mean_contributions,
)
from hneurons.neurons.neuron_set import NeuronSet
from support.planted import make_identity
from support.tiny_models import tiny_model

IDENTITY = ModelIdentity("m", "llama", 6, 500, 32, "c", "t", "w")
RNG = np.random.default_rng(0)
CONTRIBUTIONS = RNG.lognormal(size=(6, 500))


def selected(columns: list[int] | None = None) -> NeuronSet:
    # The strongest contributors of layers 0, 3 and 5: what a matched control has to imitate.
    chosen = (
        columns
        if columns is not None
        else [i * 500 + int(j) for i in (0, 3, 3, 5) for j in np.argsort(-CONTRIBUTIONS[i])[:5]]
    )
    unique = np.unique(chosen)
    return NeuronSet.from_columns(IDENTITY, unique, np.ones(len(unique)), data={})


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_a_control_has_as_many_neurons_and_none_of_the_selected(kind: str) -> None:
    chosen = selected()
    for seed in range(5):
        control = draw_control(chosen, kind, seed=seed, contributions=CONTRIBUTIONS)
        assert len(control) == len(chosen) == len(set(control.columns.tolist()))
        assert not set(control.columns.tolist()) & set(chosen.columns.tolist())


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_the_same_seed_draws_the_same_set_and_another_seed_another(kind: str) -> None:
    sets = [draw_control(selected(), kind, seed=s, contributions=CONTRIBUTIONS).columns.tolist() for s in (0, 0, 1)]
    assert sets[0] == sets[1] != sets[2]


def test_a_layer_matched_control_has_the_selected_counts_in_every_layer() -> None:
    control = draw_control(selected(), "layer_matched")
    np.testing.assert_array_equal(np.bincount(control.layers, minlength=6), np.bincount(selected().layers, minlength=6))


def test_a_contribution_matched_control_contributes_alike_where_an_unconstrained_one_does_not() -> None:
    chosen, flat = selected(), CONTRIBUTIONS.ravel()
    wanted = np.log(flat[chosen.columns]).mean()
    means = {
        kind: np.mean([
            np.log(flat[draw_control(chosen, kind, seed=s, contributions=CONTRIBUTIONS).columns]).mean()
            for s in range(20)
        ])
        for kind in CONTROL_KINDS
    }  # fmt: skip
    assert abs(means["contribution_matched"] - wanted) < 0.5
    assert abs(means["unconstrained"] - wanted) > 1.5


def test_over_many_seeds_every_other_neuron_is_drawn_equally_often() -> None:
    chosen = selected([0, 1, 2])
    counts = np.zeros(3000)
    for seed in range(3000):
        counts[draw_control(chosen, "unconstrained", seed=seed).columns] += 1
    assert not counts[:3].any()
    assert abs(counts[3:500].sum() / counts.sum() - 497 / 2997) < 0.02
    assert counts.max() < 20


def test_too_few_other_neurons_and_missing_contributions_are_said() -> None:
    with pytest.raises(InputError, match="only 200 are left"):
        draw_control(selected(list(range(300))), "layer_matched")
    with pytest.raises(InputError, match="needs mean contributions"):
        draw_control(selected(), "contribution_matched")
    with pytest.raises(InputError, match="unknown kind"):
        draw_control(selected(), "lucky")  # type: ignore[arg-type]


def test_mean_contributions_are_those_of_the_definition() -> None:
    model = tiny_model()
    sequences = [[5, 60, 61, 70], [5, 99]] * 5
    expected = []
    for ids in sequences:
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        handles = [f.down.register_forward_hook(lambda m, a, o, s=seen: s.append((a[0][0], o[0]))) for f in model.ffns]
        with torch.inference_mode():
            model.model(torch.tensor([ids]))
        for handle in handles:
            handle.remove()
        layers = [z.abs() * f.column_norms() / h.norm(dim=-1, keepdim=True)
                  for (z, h), f in zip(seen, model.ffns, strict=True)]  # fmt: skip
        expected.append(torch.stack(layers, 1).numpy())  # tokens x layers x neurons
    np.testing.assert_allclose(mean_contributions(model, sequences), np.concatenate(expected).mean(axis=0), rtol=1e-4)


def a_set(columns: list[int], weights: list[float]) -> NeuronSet:
    identity = make_identity((3, 40))
    return NeuronSet.from_columns(identity, np.array(columns), np.array(weights), data={})


def test_every_comparison_draws_the_sets_that_it_always_drew() -> None:
    """Numbers in earlier runs and documents came from these sets."""
    width, chosen = (3, 40), a_set([7, 12, 46, 110], [3.0, 1.0, 5.0, 4.0])
    weighted = np.array([7, 12, 45, 46, 110])  # 45 has a negative weight

    def draw(comparison: str, like: Any, without: Any, **options: Any) -> list[list[int]]:
        sets = draw_sets(comparison, np.array(like), width, without=np.array(without), draws=2, seed=3, **options)
        return [s.tolist() for s in sets]

    evaluated = draw("random neurons", chosen.columns, chosen.columns)
    assert [sorted(s) for s in evaluated] == [[21, 43, 44, 54], [2, 25, 97, 114]]
    transferred = draw("random neurons", chosen.columns, weighted)
    assert [sorted(s) for s in transferred] == [[21, 43, 55, 119], [2, 25, 97, 114]]
    layers = draw("random neurons, same layers", sorted(chosen.columns.tolist()), weighted, same_layers=True)
    assert [sorted(s) for s in layers] == [[11, 27, 48, 109], [13, 14, 64, 88]]
    refusal = [7, 12, 110, 46]  # layers 0, 2 and 1, in that order
    assert draw("refusal overlap", refusal, refusal, same_layers=True) == [[0, 16, 101, 62], [19, 26, 109, 49]]
    rng = control_rng("drift", "any neurons", 3)
    assert draw_subsets(rng, 40, 3, 2).tolist() == [[37, 15, 13], [38, 23, 22]]
    assert draw_subsets(rng, 10, 4, 2).tolist() == [[4, 7, 3, 1], [4, 3, 0, 8]]
    means = (np.arange(120.0) % 17).reshape(3, 40)
    benched = {k: draw_control(chosen, k, seed=3, contributions=means).columns.tolist() for k in CONTROL_KINDS}
    assert benched == {
        "unconstrained": [3, 54, 70, 113],
        "layer_matched": [9, 33, 51, 96],
        "contribution_matched": [9, 10, 81, 93],
    }


def test_sets_are_drawn_from_what_is_left() -> None:
    like, without = np.arange(10), np.arange(4, 80)
    few = draw_sets("x", like, (2, 40), without=without, draws=3, seed=0)
    assert all(sorted(s.tolist()) == [0, 1, 2, 3] for s in few) and len(few) == 3
    assert draw_sets("x", np.zeros(0, np.int64), (2, 40), without=without, draws=3, seed=0) == []
