"""The figures of a run's report: values in, inline SVG out; an empty string where there is nothing to draw.

Methods, datasets and classes differ in marker, line or place as well as in colour, so the page prints in grey.
"""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hneurons.core.errors import MissingExtraError

if TYPE_CHECKING:
    from hneurons.detection.evaluation import DatasetResult
    from hneurons.neurons.neuron_set import NeuronSet

INK, SOFT, RULE, BAND, FRONT, SECOND = "#22201c", "#6b665d", "#e6e2da", "#d5cfc3", "#b3400a", "#1f5f8b"
_LINES = (("-", FRONT), ("--", SECOND), ("-.", "#3d7a4a"), (":", "#7a4a8b"), ((0, (5, 1, 1, 1, 1, 1)), "#8a6d1f"))
_WIDTH = 5.2  # inches


class _Plot(NamedTuple):
    canvas: Any
    axes: list[Any]
    svg: Callable[[], str]


@contextmanager
def _plot(title: str, height: float, *, rows: int = 1) -> Iterator[_Plot]:
    """A canvas with `rows` axes that share x, in the page's look; `svg()` gives the drawing, `title` its text."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report", "writing a report") from error
    from matplotlib.figure import Figure

    look: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": title, "font.size": 10, "font.family": "sans-serif",
        "axes.edgecolor": SOFT, "axes.labelcolor": INK, "text.color": INK, "xtick.color": SOFT, "ytick.color": SOFT,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": RULE,
        "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 9,
        "axes.facecolor": "none",
    }  # fmt: skip
    with matplotlib.rc_context(look):
        canvas = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="none")
        axes = canvas.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        yield _Plot(canvas, list(axes), lambda: _svg(canvas, title))


def _svg(canvas: Any, title: str) -> str:
    stream = io.StringIO()
    canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    prefix = re.sub(r"\W+", "-", title.lower())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)  # several drawings share one page
    text = text.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def draw_detection(results: Mapping[str, "DatasetResult"]) -> str:
    """AUROC with its 95% interval per dataset and method; random neurons as the grey band of their draws."""
    rows = sum(len(r.scores) + 1 for r in results.values())
    if not rows:
        return ""
    with _plot("AUROC by dataset and method", 0.7 + 0.23 * rows) as plot:
        axes = plot.axes[0]
        place, names, low = 0.0, [], 0.45
        for name, result in results.items():
            axes.annotate(name, (0, place), xycoords=axes.get_yaxis_transform(), xytext=(4, 0), fontweight="bold",
                          textcoords="offset points", va="center", zorder=5)  # fmt: skip
            names.append((place, ""))
            bottom = place + len(result.scores) + 0.4
            mean, least, most = result.random.auroc
            if math.isfinite(mean):
                axes.fill_betweenx([place + 0.5, bottom], least, most, color=BAND, alpha=0.6, linewidth=0)
                axes.plot([mean, mean], [place + 0.5, bottom], color=SOFT, linewidth=0.8)
                low = min(low, least - 0.02)
            for number, score in enumerate(result.scores, 1):
                area, own = score.auroc, number <= 1
                names.append((place + number, score.method))
                if not math.isfinite(area.value):
                    continue
                colour = FRONT if own else INK
                axes.plot([area.low, area.high], [place + number] * 2, color=colour, linewidth=2.2 if own else 1.1)
                axes.plot(area.value, place + number, "D" if own else "o", color=colour, markersize=6 if own else 4.5,
                          markerfacecolor=colour if own else "white")  # fmt: skip
                low = min(low, area.low - 0.02)
            place += len(result.scores) + 1
        axes.axvline(0.5, color=SOFT, linewidth=0.8, linestyle=":")
        axes.set(xlim=(max(0.0, low), 1.01), ylim=(place - 0.3, -0.6), xlabel="AUROC (0.5 = chance)")
        axes.set_yticks([p for p, _ in names], [n for _, n in names])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        return plot.svg()


def draw_roc(results: Mapping[str, "DatasetResult"]) -> str:
    """ROC curve of the detector on every dataset."""
    if not results:
        return ""
    with _plot("ROC of the H-neuron detector", 4.4) as plot:
        axes = plot.axes[0]
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
        for number, (name, result) in enumerate(results.items()):
            style, colour = _LINES[number % len(_LINES)]
            label = f"{name} ({result.detector.auroc.value:.2f})"
            axes.plot(*result.roc, linestyle=style, color=colour, linewidth=1.6, label=label)
        axes.set(xlabel="right answers called made up", ylabel="wrong answers called made up", aspect="equal")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right", title="AUROC", title_fontsize=9)
        return plot.svg()


def draw_layers(neurons: "NeuronSet") -> str:
    """H-neurons by layer: how many, and the sum of their weights."""
    if not len(neurons):
        return ""
    layers = np.arange(neurons.identity.layers)
    counts = np.bincount(neurons.layers, minlength=len(layers))
    sums = np.bincount(neurons.layers, weights=neurons.weights, minlength=len(layers))
    with _plot("H-neurons by layer", 3.4, rows=2) as plot:
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
    with _plot("Weights of the detector, sorted", 2.7) as plot:
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


def draw_stability(neurons: "NeuronSet", threshold: float) -> str:
    """Selection probability of each H-neuron against its weight; empty where it was not measured."""
    known = np.isfinite(neurons.selection_probability)
    if not known.any():
        return ""
    with _plot("Selection probability against weight", 3.2) as plot:
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


def draw_path(path: Sequence[Mapping[str, Any]], chosen: int) -> str:
    """Held-out AUROC and number of neurons along the path of penalties, the chosen point ringed."""
    if not path:
        return ""
    ratios = [point["lambda_ratio"] for point in path]
    areas = [math.nan if point["held_out_auroc"] is None else point["held_out_auroc"] for point in path]
    with _plot("The path of penalties", 3.9, rows=2) as plot:
        above, below = plot.axes
        above.plot(ratios, areas, "o-", color=FRONT, markersize=4, linewidth=1.4)
        above.set_ylabel("held-out AUROC")
        known = [a for a in areas if math.isfinite(a)]
        if known:  # a narrower scale would make noise look like a trend
            middle, half = (min(known) + max(known)) / 2, max(0.1, (max(known) - min(known)) / 2 + 0.02)
            above.set_ylim(middle - half, middle + half)
        for key, marker, colour, label in (
            ("positive", "o-", FRONT, "positive: H-neurons"), ("negative", "v--", SECOND, "negative"),
        ):  # fmt: skip
            below.plot(ratios, [p[key] for p in path], marker, color=colour, markersize=4, linewidth=1.2, label=label)
        below.set(ylabel="neurons", xlabel="λ / λmax (fewer neurons to the left)")
        below.legend(loc="upper left")
        for axes, value in ((above, areas[chosen]), (below, path[chosen]["positive"])):
            axes.axvline(ratios[chosen], color=INK, linewidth=0.8, linestyle=":")
            axes.plot(
                ratios[chosen], value, "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, clip_on=False
            )
        below.set_xscale("log")
        ticks = [r for r in (1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.13, 0.1, 0.05, 0.02, 0.01)
                 if min(ratios) * 0.99 <= r <= max(ratios) * 1.01]  # fmt: skip
        below.set_xticks(ticks or ratios, [f"{r:g}" for r in ticks or ratios])
        below.minorticks_off()
        if len(path) > 1:
            below.invert_xaxis()
        return plot.svg()
