"""Section: the fits along the path of penalties, and which of them was chosen by what."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hneurons.report.figures import FRONT, INK, SECOND, plot_figure
from hneurons.report.sections.section import RunPage, Section


def describe(page: RunPage) -> dict[str, Any]:
    fit = page.detector.settings
    path, chosen = fit.get("path", []), fit.get("chosen", 0)
    return {"path": path, "chosen": chosen, "choice": fit.get("choice"), "drawn": draw_path(path, chosen)}


def draw_path(path: Sequence[Mapping[str, Any]], chosen: int) -> str:
    """Held-out AUROC and number of neurons along the path of penalties, the chosen point ringed."""
    if not path:
        return ""
    ratios = [point["lambda_ratio"] for point in path]
    areas = [math.nan if point["held_out_auroc"] is None else point["held_out_auroc"] for point in path]
    with plot_figure("The path of penalties", 3.9, rows=2) as plot:
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


SECTION = Section("path", "Path", 40, describe)
