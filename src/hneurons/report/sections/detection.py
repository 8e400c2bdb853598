"""Section: how well the detector tells wrong answers from right ones, beside every rival."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from hneurons.core.wording import count, interval, percent, spread
from hneurons.detection.evaluation import DETECTOR, DatasetResult
from hneurons.detection.scores import SCORES
from hneurons.report.figures import BAND, FRONT, INK, LINES, SOFT, plot_figure
from hneurons.report.findings import INVENTED, explain_missing, is_testable, read_difference
from hneurons.report.sections.section import RunPage, Section
from hneurons.runs.plan import TRAIN


def describe(page: RunPage) -> dict[str, Any]:
    known = page.summaries
    return {
        "detection": [_detection(result, known.get(result.name, {})) for result in page.results.values()],
        "missing": {n: explain_missing(s) for n, s in known.items() if n not in page.results and n != TRAIN},
        "rivals": {name: f"{said[:1].lower()}{said[1:].rstrip('.')}" for name, said in SCORES.summaries().items()},
        "areas": draw_detection(page.testable),
        "roc": draw_roc(page.testable),
    }


class _Row(NamedTuple):
    method: str
    accuracy: str
    auroc: str
    reading: str


def _detection(result: DatasetResult, summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A dataset's block of the detection table."""
    area = result.detector.auroc
    rows = []
    for score in result.scores:
        rows.append(
            _Row(
                score.method,
                percent(score.accuracy),
                interval(score.auroc),
                read_difference(result.difference(DETECTOR, score.method)),
            )
        )
    for drawn in (result.random_all, result.random):
        if drawn is None or not drawn.size:
            continue
        mean, low, high = (100 * v for v in drawn.accuracy)
        gap = next((d for random, d in result.like_for_like if random is drawn), None)
        line = _Row(
            f"{count(drawn.size, 'random neuron')}, {drawn.draws} draws",
            spread(mean, low, high, 1),
            spread(*drawn.auroc) if is_testable(result) else "not testable",
            f"{drawn.like}: {read_difference(gap.auroc)}" if gap else "",
        )
        rows.insert(1 + next((k for k, row in enumerate(rows) if row.method == drawn.like), 0), line)
    return {
        "result": result,
        "rows": rows,
        "questions": area.n,
        "invented": summaries.get("examples", {}).get("contrast") == INVENTED,
    }


def draw_detection(results: Mapping[str, DatasetResult]) -> str:
    """AUROC with its 95% interval per dataset and method; random neurons, as many as it has, as a grey band."""
    rows = sum(len(r.scores) + 1 for r in results.values())
    if not rows:
        return ""
    with plot_figure("AUROC by dataset and method", 0.7 + 0.23 * rows) as plot:
        axes = plot.axes[0]
        place, names, low = 0.0, [], 0.45
        for name, result in results.items():
            axes.annotate(name, (0, place), xycoords=axes.get_yaxis_transform(), xytext=(4, 0), fontweight="bold",
                          textcoords="offset points", va="center", zorder=5)  # fmt: skip
            names.append((place, ""))
            bottom = place + len(result.scores) + 0.4
            mean, least, most = (result.random_all or result.random).auroc
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


def draw_roc(results: Mapping[str, DatasetResult]) -> str:
    """ROC curve of the detector on every dataset."""
    if not results:
        return ""
    with plot_figure("ROC of the H-neuron detector", 4.4) as plot:
        axes = plot.axes[0]
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
        for number, (name, result) in enumerate(results.items()):
            style, colour = LINES[number % len(LINES)]
            label = f"{name} ({result.detector.auroc.value:.2f})"
            axes.plot(*result.roc, linestyle=style, color=colour, linewidth=1.6, label=label)
        axes.set(xlabel="right answers called made up", ylabel="wrong answers called made up", aspect="equal")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right", title="AUROC", title_fontsize=9)
        return plot.svg()


SECTION = Section("detection", "Detection", 10, describe)
