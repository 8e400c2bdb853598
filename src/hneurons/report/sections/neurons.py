"""Section: the neurons that were selected, where they sit, what they weigh and how stable they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hneurons.detection.fitting import STABLE
from hneurons.neurons.neuron_set import NeuronSet
from hneurons.report.figures import FRONT, INK, SECOND, SOFT, plot_figure
from hneurons.report.sections.section import RunPage, Section

_SHOWN = 20


def describe(page: RunPage) -> dict[str, Any]:
    detector, neurons = page.detector, page.neurons
    return {
        "neurons": neurons,
        "identity": detector.identity,
        "negative": len(detector.columns) - len(neurons),
        "fit": detector.settings,
        "data": detector.data,
        "stability": detector.settings.get("stability"),
        "strongest": _strongest(neurons),
        "answers": page.strongest_answers,
        "layers": draw_layers(neurons),
        "weights": draw_weights((detector.coef * detector.scale).tolist()),
        "probabilities": draw_stability(neurons, STABLE),
    }


def _strongest(neurons: NeuronSet) -> list[tuple[int, int, float, float]]:
    columns = (neurons.layers, neurons.neurons, neurons.weights, neurons.selection_probability)
    return list(zip(*(c.tolist() for c in columns), strict=True))[:_SHOWN]


def draw_layers(neurons: NeuronSet) -> str:
    """H-neurons by layer: how many, and the sum of their weights."""
    if not len(neurons):
        return ""
    layers = np.arange(neurons.identity.layers)
    counts = np.bincount(neurons.layers, minlength=len(layers))
    sums = np.bincount(neurons.layers, weights=neurons.weights, minlength=len(layers))
    with plot_figure("H-neurons by layer", 3.4, rows=2) as plot:
        for axes, values, label, colour in zip(
            plot.axes, (counts, sums), ("neurons", "summed weight"), (SOFT, FRONT), strict=True
        ):
            axes.bar(layers, values, color=colour, width=0.8)
            axes.set_ylabel(label)
            axes.grid(axis="x", visible=False)
        plot.axes[0].yaxis.get_major_locator().set_params(integer=True)
        plot.axes[1].xaxis.get_major_locator().set_params(integer=True)
        plot.axes[1].set(xlabel=f"layer (0 to {len(layers) - 1})", xlim=(-0.7, len(layers) - 0.3))
        return plot.svg()


def draw_weights(weights: Sequence[float]) -> str:
    """All weights of the detector, largest first; those below zero speak for a right answer."""
    if not len(weights):
        return ""
    ordered = np.sort(np.asarray(weights))[::-1]
    rank = np.arange(1, len(ordered) + 1)
    with plot_figure("Weights of the detector, sorted", 2.7) as plot:
        axes = plot.axes[0]
        axes.vlines(rank, 0, ordered, color=[FRONT if w > 0 else SECOND for w in ordered], linewidth=1)
        for chosen, marker, colour, label in (
            (ordered > 0, "o", FRONT, "positive: H-neurons"), (ordered < 0, "v", SECOND, "negative"),
        ):  # fmt: skip
            if chosen.any():
                axes.plot(rank[chosen], ordered[chosen], marker, color=colour, markersize=3, label=label)
        axes.axhline(0, color=SOFT, linewidth=0.8)
        axes.set(xlabel="rank", ylabel="weight", xlim=(0, len(ordered) + 1))
        axes.legend(loc="upper right")
        return plot.svg()


def draw_stability(neurons: NeuronSet, threshold: float) -> str:
    """Selection probability of each H-neuron against its weight; empty where it was not measured."""
    known = np.isfinite(neurons.selection_probability)
    if not known.any():
        return ""
    with plot_figure("Selection probability against weight", 3.2) as plot:
        axes = plot.axes[0]
        axes.axhline(threshold, color=INK, linewidth=1, linestyle="--")
        for stable in (True, False):
            chosen = known & ((neurons.selection_probability >= threshold) == stable)
            if chosen.any():
                axes.plot(neurons.weights[chosen], neurons.selection_probability[chosen], "D" if stable else "o",
                          color=FRONT if stable else SOFT, markerfacecolor=FRONT if stable else "white", markersize=5,
                          label=f"{int(chosen.sum())} {'at or above' if stable else 'below'} {threshold}")  # fmt: skip
        axes.set(xlabel="weight", ylabel="selection probability", ylim=(-0.03, 1.05))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return plot.svg()


SECTION = Section("neurons", "Neurons", 30, describe)
