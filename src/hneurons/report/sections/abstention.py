"""Section: which answers may be given with a guarantee, where `abstain` was run."""

from typing import Any

from hneurons.core.wording import number
from hneurons.detection.decisions.abstention import Guarantee, describe_guarantee, describe_untouched, load_guarantee
from hneurons.report.figures import FRONT, INK, SECOND, SOFT, plot_figure
from hneurons.report.sections.section import RunPage, Section


def describe(page: RunPage) -> dict[str, Any] | None:
    found = load_guarantee(page.run.detector, page.detector)
    if found is None:
        return None
    steps = [
        (s.answered, number(s.threshold), s.errors, s.allowed, number(100 * s.bound, 1), _outcome(s.reached, s.passed))
        for s in found.steps
    ]
    return {
        "reading": describe_guarantee(found),
        "untouched": describe_untouched(found.untouched, found.confidence) if found.untouched else "",
        "curve": found.curve,
        "steps": steps,
        "left_out": found.left_out,
        "risk": draw_curve(found),
    }


def _outcome(reached: bool, passed: bool) -> str:
    return "not reached" if not reached else "passed" if passed else "failed"


def draw_curve(found: Guarantee) -> str:
    """Error rate against the share answered, with the target and the share that the guarantee answers."""
    with plot_figure(f"Risk and coverage on {found.data}", 3.2) as plot:
        axes = plot.axes[0]
        coverage, risk = zip(*found.curve.points, strict=True)
        axes.plot(coverage, risk, color=INK, linewidth=1.6, label="answered by the detector's order")
        axes.axhline(found.error_rate, color=SOFT, linewidth=0.8, linestyle=":", label="in random order")
        target = 1 - found.target_precision
        axes.axhline(target, color=SECOND, linewidth=1.2, linestyle="--", label="largest error rate allowed")
        if found.found:
            axes.axvline(found.coverage, color=FRONT, linewidth=1.4, label="answered with the guarantee")
        axes.set(xlim=(0, 1), ylim=(0, max(*risk, target) * 1.15 + 0.02), xlabel="share answered", ylabel="error rate")
        axes.legend(loc="best")
        return plot.svg()


SECTION = Section("abstention", "Abstention", 17, describe)
