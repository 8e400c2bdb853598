"""Section: how far the calibrated probabilities can be believed, where `calibrate` was run."""

from typing import Any

from hneurons.core.wording import interval
from hneurons.detection.decisions.calibration import Calibration, describe_calibration, load_calibration
from hneurons.report.figures import FRONT, SOFT, plot_figure
from hneurons.report.sections.section import RunPage, Section


def describe(page: RunPage) -> dict[str, Any] | None:
    found = load_calibration(page.run.detector, page.detector)
    if found is None:
        return None
    rows = [(q.method, interval(q.error), interval(q.brier)) for q in found.qualities]
    return {
        "reading": describe_calibration(found),
        "chosen": found.calibrator.method,
        "rows": rows,
        "left_out": found.left_out,
        "reliability": draw_reliability(found),
    }


def draw_reliability(found: Calibration) -> str:
    """The share of wrong answers against the mean probability, in bins with as many answers each."""
    with plot_figure(f"Reliability on {found.data}", 3.4) as plot:
        axes = plot.axes[0]
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
        for one in found.bins:
            axes.plot([one.probability] * 2, [one.wrong.low, one.wrong.high], color=FRONT, linewidth=1.2)
            axes.plot(one.probability, one.wrong.value, "D", color=FRONT, markersize=5)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="calibrated probability", ylabel="share of wrong answers")
        return plot.svg()


SECTION = Section("calibration", "Calibration", 16, describe)
