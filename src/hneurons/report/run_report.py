"""A run as one self-contained HTML page: the verdict first, then section by section how it came about."""

from pathlib import Path
from typing import Any, NamedTuple

from hneurons.core.files import stored_errors
from hneurons.core.wording import UNKNOWN, count, interval, number
from hneurons.detection.evaluation import DETECTOR
from hneurons.detection.fitting import STABLE
from hneurons.detection.like_for_like import LIKE_FOR_LIKE
from hneurons.report.findings import describe_result, is_testable, judge_result, read_difference, state_verdict
from hneurons.report.page import render_page, write_page
from hneurons.report.sections import RunPage, run_sections
from hneurons.runs.folder import RunFolder

REPORT = "report.html"


class Tile(NamedTuple):
    """One of the numbers at the head of the page, with what it is and what to read it beside."""

    label: str
    value: str
    note: str


def write_run_report(run: RunFolder) -> Path:
    """Write `report.html` into the run's folder and return its path; equal runs give equal bytes.

    Reads finished stages only and loads no model. Raises `InputError` or `ArtifactError` where detector or evaluation
    are missing or damaged, `ArtifactError` where they do not belong together, `MissingExtraError` without the report
    extra.
    """
    run.check_current()
    detector = run.load_detector()
    page = RunPage(run, detector, run.load_evaluation())
    with stored_errors(run.folder):
        sections = [
            (section, render_page(f"sections/{section.name}.html", values))
            for section in run_sections()
            if (values := section.describe(page)) is not None
        ]
    return write_page(run.folder / REPORT, "run.html", {**_head(page), "sections": sections})


def _head(page: RunPage) -> dict[str, Any]:
    main, results = page.main, page.results.values()
    told = main is not None and len(page.detector.columns)
    return {
        "plan": page.run.plan,
        "identity": page.detector.identity,
        "verdict": state_verdict(page.detector, main),
        "tiles": list_tiles(page),
        "headline": describe_result(page.detector, main) if main else "No test set could be evaluated.",
        "reading": judge_result(main) if main and told else "",
        "elsewhere": [(r.name, interval(r.detector.auroc), judge_result(r)) for r in results if r is not main],
    }


def list_tiles(page: RunPage) -> list[Tile]:
    """AUROC, the fair comparison with random neurons, the strongest rival, and the neurons."""
    neurons, main = page.neurons, page.main
    stable = int((neurons.selection_probability >= STABLE).sum())
    told = f"{1000 * neurons.share:.2g} per mille of all FFN neurons"
    if len(neurons) and neurons.selection_probability[0] == neurons.selection_probability[0]:
        told += f"; {stable} with a selection probability of at least {STABLE}"
    found = Tile("H-neurons", f"{len(neurons):,}", told)
    if main is None or not is_testable(main):
        reason = f"{main.right} right and {main.wrong} wrong answers of {main.name}" if main else "no test set"
        return [Tile("AUROC on unseen questions", UNKNOWN, f"Not testable: {reason}"), found]
    area, fair = main.detector.auroc, next((d for _, d in main.like_for_like), None)
    value, _, bounds = interval(area).partition(" ")
    tiles = [
        Tile(f"AUROC on unseen {main.name} questions", value,
             f"{bounds}, {count(area.n, 'question')}; 0.5 is chance"),
        Tile("Its neurons less as many random ones, fitted alike",
             UNKNOWN if fair is None else number(fair.auroc.value, sign=True),
             "Not measured" if fair is None else f"AUROC, {fair.method}: {read_difference(fair.auroc)}"),
    ]  # fmt: skip
    rivals = [score for score in main.scores if score.method not in (DETECTOR, *LIKE_FOR_LIKE)]
    if rivals:
        best = max(rivals, key=lambda score: score.auroc.value)
        beside = read_difference(main.difference(DETECTOR, best.method)) or "not compared"
        tiles.append(
            Tile(f"Strongest rival: {best.method}", number(best.auroc.value), f"AUROC; the detector is {beside}")
        )
    return [*tiles, found]
