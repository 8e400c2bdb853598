"""Section: what the neurons tell that cheaper things do not, where `scores` was run."""

import math
from collections.abc import Sequence
from typing import Any

from hneurons.core.artifacts import MANIFEST, Manifest
from hneurons.core.wording import interval, number
from hneurons.detection.evaluation import DETECTOR
from hneurons.detection.rivals.compare import POSITIVE, RIDGE, load_rivals
from hneurons.detection.rivals.results import Comparison, Rival
from hneurons.report.figures import BAND, FRONT, INK, SECOND, SOFT, THIRD, plot_figure
from hneurons.report.findings import read_difference
from hneurons.report.sections.section import RunPage, Section

MARKERS = {"text": "v", "log-probabilities": "o", "samples": "s", "another pass": "^", "internals": "P"}


def describe(page: RunPage) -> dict[str, Any] | None:
    place = page.run.folder / "rivals"
    if not (place / MANIFEST).is_file():
        return None
    manifest = Manifest.load(place)
    if not manifest.complete or manifest.inputs.get("detector") != page.detector.content:
        return None
    found = load_rivals(place)
    drawn = [stages["responses"].summary for stages in page.manifests.values() if "responses" in stages]
    bounds = any(summary.get("with_entropies") for summary in drawn)  # an endpoint's summary alone counts them
    return {"blocks": [_block(result) for result in found.values()], "bounds": bounds} if found else None


def _block(result: Comparison) -> dict[str, Any]:
    ranked = sorted(result.rivals, key=lambda rival: -rival.auroc.value)
    rows = [
        {
            "rival": rival,
            "auroc": interval(rival.auroc),
            "refitted": interval(rival.refitted) if rival.refitted else "",
            "reading": read_difference(rival.ahead),
            "p": number(rival.p_holm) if rival.ahead else "",
            "natural": interval(rival.natural.auroc) if rival.natural else "",
            "cost": f"{rival.passes:.3g} / {rival.samples:.0f} / {rival.bytes:,.0f}",
            "milliseconds": f"{rival.milliseconds:,.3g}" if math.isfinite(rival.milliseconds) else "not measured",
            "kinds": {kind: number(area.value, 2) for kind, area in rival.kinds.items()},
        }
        for rival in ranked
    ]
    return {
        "result": result,
        "reading": result.reading or "The detector was not fitted in this run, so what it adds is not known.",
        "rows": rows,
        "areas": draw_rivals(result.name, ranked),
        "curve": draw_curve(result),
        "within": {name: interval(area) for name, area in result.within.items()},
        "partial": interval(result.partial),
    }


def draw_rivals(name: str, ranked: Sequence[Rival]) -> str:
    """Every score on one axis, the best first, marked by what it needs; thin lines include refitting."""
    with plot_figure(f"AUROC of every score on {name}", 0.9 + 0.24 * len(ranked)) as plot:
        axes = plot.axes[0]
        for place, rival in enumerate(ranked):
            colour = FRONT if rival.method in (DETECTOR, POSITIVE) else INK
            if rival.refitted:
                axes.plot([rival.refitted.low, rival.refitted.high], [place] * 2, color=SOFT, linewidth=0.7)
            axes.plot([rival.auroc.low, rival.auroc.high], [place] * 2, color=colour, linewidth=1.8)
            axes.plot(rival.auroc.value, place, MARKERS.get(rival.needs, "o"), color=colour, markersize=5)
        for needs in dict.fromkeys(rival.needs for rival in ranked):
            axes.plot([], [], MARKERS.get(needs, "o"), color=INK, label=needs)
        axes.axvline(0.5, color=SOFT, linewidth=0.8, linestyle=":")
        axes.set(ylim=(len(ranked) - 0.4, -0.6), xlabel="AUROC (0.5 = chance)")
        axes.set_yticks(range(len(ranked)), [rival.method for rival in ranked])
        plot.canvas.legend(loc="outside lower right", ncols=2)
        return plot.svg()


def draw_curve(result: Comparison) -> str:
    """AUROC against the number of random neurons, with the detector and the dense limit."""
    if not result.curve:
        return ""
    areas = {rival.method: rival.auroc.value for rival in result.rivals}
    with plot_figure(f"Random neurons on {result.name}", 3.4) as plot:
        axes, sizes = plot.axes[0], [point.neurons for point in result.curve]
        axes.fill_between(sizes, [p.low for p in result.curve], [p.high for p in result.curve], color=BAND, alpha=0.6)
        axes.plot(sizes, [p.mean for p in result.curve], "o-", color=INK, markersize=4, label="random neurons, ridge")
        for method, colour, style in ((DETECTOR, FRONT, "-"), (POSITIVE, SECOND, "--"), (RIDGE, THIRD, "-.")):
            if method in areas:
                axes.axhline(areas[method], color=colour, linestyle=style, linewidth=1.2, label=method)
        axes.set(xscale="log", xlabel="neurons", ylabel="AUROC")
        axes.legend(loc="lower right")
        return plot.svg()


SECTION = Section("rivals", "Rivals", 15, describe)
