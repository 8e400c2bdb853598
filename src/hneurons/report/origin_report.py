"""The section of a run's page on the origin of its neurons: what it says, its tables and its figure."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hneurons.core.stats import Estimate
from hneurons.core.wording import count, interval, listing, spread
from hneurons.detection.detector import Detector
from hneurons.detection.transfer import RANDOM_KINDS, REFITTED, SAME_FIT, Transferred, TransferResult
from hneurons.mechanism.drift_ranks import Comparison, DriftRanks
from hneurons.report.figures import BAND, FRONT, INK, SOFT, plot_figure
from hneurons.report.findings import explain_missing, read_difference
from hneurons.runs.origin import ORIGIN, Origin, identify_detector, load_origin

TAIL = 0.025  # in each direction, so that "less" and "more" together are wrong in 5% of null cases
_FEW = 10  # neurons below which a mean rank says little


class Line(NamedTuple):
    """One line of the table of transfer: what was applied, its AUROC, and the detector beside it."""

    method: str
    auroc: str
    reading: str


def describe_origin(folder: Path) -> dict[str, Any] | None:
    """What the template `origin.html` shows of RUN/origin; None where `origin` was not run."""
    found = load_origin(folder / ORIGIN)
    if found is None:
        return None
    if found.detector != identify_detector(Detector.load(folder / "detector")):
        return {"stale": True, "base": found.base}
    return {
        "stale": False,
        "base": found.base,
        "tuned": found.tuned,
        "transfer": [
            {"name": r.name, "right": r.right, "wrong": r.wrong, "said": judge_transfer(r), "lines": transfer_lines(r)}
            for r in found.transfer.values()
        ],
        "missing": {n: explain_missing(c) for n, c in found.counts.items() if n not in found.transfer},
        "drift": judge_drift(found),
        "parts": found.ranks.parts if found.ranks else (),
        "ranks": found.ranks,
        "distances": found.distances,
        "dtypes": found.dtypes,
        "figure": draw_ranks(found.ranks) if found.ranks else "",
    }


def judge_transfer(result: TransferResult) -> str:
    """What the transferred detector beats and what it does not; null results first."""
    area = result.detector.auroc
    if not math.isfinite(area.value):
        return (
            f"{result.right} right and {result.wrong} wrong answers of the base model were located, so nothing can be "
            "said about telling them apart."
        )
    rivals = {"chance": Estimate(area.value - 0.5, area.low - 0.5, area.high - 0.5, area.n)}
    # Random sets with a count of their own are compared below with H-neurons that were fitted as they were.
    rivals |= {m.method: m.difference for m in result.methods[1:] if not _is_own(m) and m.matching is None}
    parts = [
        ("worse than", [name for name, d in rivals.items() if d.high < 0]),
        ("not distinguishable from", [name for name, d in rivals.items() if d.low <= 0 <= d.high]),
        ("better than", [name for name, d in rivals.items() if d.low > 0]),
    ]
    said = "; ".join(f"{words} {listing(names)}" for words, names in parts if names)
    text = f"On the base model's own answers the unchanged detector has AUROC {interval(area)}: {said}."
    drawn = [m for m in result.methods if m.method in RANDOM_KINDS and m.matching is not None]
    own = [m.auroc for m in result.methods if m.method == SAME_FIT]
    if own and drawn:
        counts = [f"{m.matching} of {m.sets} sets of {m.method} (p {m.p:.4f})" for m in drawn]
        text += f" The H-neurons alone, fitted as random ones are, have {interval(own[0])}; as good: {listing(counts)}."
    if own and not any(m.method.startswith(REFITTED) for m in result.methods):
        text += " The base model's answers come from too few questions to refit the neurons on them."
    return text


def transfer_lines(result: TransferResult) -> list[Line]:
    """The table of one dataset, the detector first."""
    rows = [
        Line(_title(m), _area(m), "" if m is result.detector else read_difference(m.difference)) for m in result.methods
    ]
    return rows + [Line(f"on the tuned model's own answers: {_title(m)}", _area(m), "") for m in result.on_tuned]


def _is_own(method: Transferred) -> bool:
    """The same neurons with other weights: no rival but another view of them; nor are refitted random ones rivals."""
    return method.method == SAME_FIT or method.method.startswith(REFITTED)


def _title(method: Transferred) -> str:
    name = "its H-neurons, fitted like the random ones" if method.method == SAME_FIT else method.method
    return name if method.sets == 1 else f"{name}, mean of {method.sets} sets"


def _area(method: Transferred) -> str:
    if method.sets == 1 or not math.isfinite(method.auroc.value):
        return interval(method.auroc)
    return spread(method.auroc.value, method.lowest, method.highest)


def judge_drift(found: Origin) -> list[str]:
    """What drift says about the neurons, one sentence each; null results as plainly as others."""
    ranks = found.ranks
    if ranks is None:
        return ["The detector has no H-neurons, so there is nothing to rank."]
    if not ranks.parts and found.distances.get("gate", {}).get("largest", 0) > 0:
        return [
            "Up- and down-projections did not move at all and the gate did (median cosine distance of all neurons "
            f"{found.distances['gate']['median']:.2e}): the score leaves the gate out, so neurons cannot be ranked."
        ]
    if not ranks.parts:
        return ["No drift: the feed-forward weights of the two checkpoints are equal, so neurons cannot be ranked."]
    score = ranks.score
    who = f"The {len(ranks.neurons)} H-neurons have" if len(ranks.neurons) > 1 else "The one H-neuron has"
    said = [
        f"{who} mean rank {interval(score.mean)} among {ranks.population:,} neurons, 0 being the least and 1 the most "
        "changed by tuning."
    ]
    said += [f"{reading(c).capitalize()} than {describe_comparison(c)}." for c in score.comparisons]
    if len(ranks.neurons) < _FEW:
        said.append(f"{count(len(ranks.neurons), 'neuron')} can show large differences only.")
    if found.dtypes[0] != found.dtypes[1]:
        said.append(
            f"The checkpoints store weights as {found.dtypes[0]} and {found.dtypes[1]}: rounding alone moves every "
            "neuron a little."
        )
    return said


def reading(comparison: Comparison) -> str:
    """They changed less, more, or neither, by the one-sided p-values."""
    if comparison.p_less < TAIL:
        return "they changed less"
    return "they changed more" if comparison.p_more < TAIL else "they changed neither less nor more"


def describe_comparison(comparison: Comparison) -> str:
    """What was expected of whom, and how rare the found rank is there."""
    who = {
        "any neurons": "any neurons",
        "the same layers": "neurons of the same layers",
        "like contributions": "neurons that contribute as much",
        "like contributions, same layers": "neurons of the same layers that contribute as much",
    }[comparison.against]
    return (
        f"{who}: mean rank {comparison.expected:.3f} is expected of as many, 95% of draws lie from "
        f"{comparison.low:.3f} to {comparison.high:.3f} (p {comparison.p_less:.4f} for less, {comparison.p_more:.4f} "
        "for more)"
    )


def draw_ranks(ranks: DriftRanks) -> str:
    """Ranks of the H-neurons with their mean, above what is expected (arXiv 2512.01797, figure 4, with controls)."""
    if not ranks.parts:
        return ""
    score = ranks.score
    with plot_figure("Normalised drift ranks of the H-neurons", 3.9, rows=2) as plot:
        above, below = plot.axes
        layers = [layer for layer, _ in ranks.neurons]
        above.axvspan(score.mean.low, score.mean.high, color=FRONT, alpha=0.12, linewidth=0)
        above.plot(ranks.ranks, layers, "D", color=FRONT, markersize=4.5, alpha=0.85, clip_on=False)
        above.set(ylabel="layer", ylim=(-0.6, ranks.layers - 0.4))
        above.yaxis.get_major_locator().set_params(integer=True)
        above.yaxis.get_major_locator().set_params(integer=True)
        names = [c.against for c in score.comparisons]
        for place, comparison in enumerate(score.comparisons):
            below.plot(
                [comparison.low, comparison.high], [place, place], color=BAND, linewidth=7, solid_capstyle="butt"
            )
            below.plot(comparison.expected, place, "o", color=INK, markerfacecolor="white", markersize=5)
        below.axvspan(score.mean.low, score.mean.high, color=FRONT, alpha=0.12, linewidth=0)
        for axes in (above, below):
            axes.axvline(score.mean.value, color=FRONT, linewidth=1.8)
            axes.axvline(0.5, color=SOFT, linewidth=0.8, linestyle=":")
        below.set_yticks(np.arange(len(names)), names)
        below.tick_params(axis="y", length=0)
        below.grid(axis="y", visible=False)
        below.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6),
                  xlabel="rank by drift (0 least, 1 most)")  # fmt: skip
        return plot.svg()
