"""The section on rivals: the verdict first, then every score, and only for the detector that was compared."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hneurons.core.artifacts import FileStage
from hneurons.core.rows import dump_json
from hneurons.core.stats import Estimate
from hneurons.detection.evaluation import DETECTOR
from hneurons.detection.rivals.compare import RESULT, STAGE
from hneurons.detection.rivals.results import Comparison, CurvePoint, Rival, Stack
from hneurons.report.page import render_page
from hneurons.report.sections.rivals import describe


def area(value: float) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05, 80)


def rival(method: str, needs: str, value: float) -> Rival:
    nan = float("nan")
    ahead = None if method == DETECTOR else area(0.7 - value)
    kinds = {"varied": area(value)}
    took = nan if method == DETECTOR else 0.1234
    return Rival(method, needs, True, 1, 0.0, 88.0, area(value), None, ahead, nan, nan, None, kinds, took)


def make_page(folder: Path, detector: str, **summary: int) -> Any:
    stack = Stack("confidence", ("answer length",), area(0.7), area(0.7), area(0.0), area(0.0))
    rivals = (rival(DETECTOR, "internals", 0.7), rival("perplexity", "log-probabilities", 0.8))
    curve = (CurvePoint(10, 2, 0.6, 0.5, 0.7), CurvePoint(100, 1, 0.7, 0.7, 0.7))
    result = Comparison(
        "new", 40, 40, rivals, {"SAPLMA": "no residual states are stored"}, (stack,), {"answer length": area(0.6)},
        area(0.1), curve, {"varied": 40}, 0, 0.5, 0.0, "The neurons add nothing that was shown to confidence.",
    )  # fmt: skip
    stage = FileStage(folder / "rivals", stage=STAGE, settings={}, inputs={"detector": "d"})
    stage.finish({RESULT: dump_json({"new": result})})
    run, stored = SimpleNamespace(folder=folder), SimpleNamespace(summary={"responses": 4, **summary})
    return SimpleNamespace(
        run=run, detector=SimpleNamespace(content=detector), manifests={"train": {"responses": stored}, "new": {}}
    )


def test_entropies_of_an_endpoint_are_said_to_be_lower_bounds(tmp_path: Path) -> None:
    for folder, entropies in (("a", {"with_entropies": 4}), ("b", {"with_entropies": 0}), ("c", {})):
        values = describe(make_page(tmp_path / folder, "d", **entropies))
        assert values is not None
        assert ("lower bounds" in render_page("sections/rivals.html", values)) is (folder == "a")


def test_the_verdict_stands_before_the_scores_which_are_sorted_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    values = describe(make_page(tmp_path, "d"))
    assert values is not None
    page = render_page("sections/rivals.html", values)
    verdict, table = page.index("add nothing that was shown"), page.index("<tbody>")
    assert verdict < page.index("<svg") < table
    assert page.index('"method">perplexity') < page.index(f'"method">{DETECTOR}')
    assert re.search(r">1 / 0 / 88</td><td [^>]*>0.123</td>", page)
    assert ">not measured</td>" in page
    assert "SAPLMA (no residual states are stored)" in page and "nan" not in page.lower()


def test_there_is_no_section_without_a_comparison_or_for_another_detector(tmp_path: Path) -> None:
    assert describe(make_page(tmp_path / "a", "other")) is None
    empty: Any = SimpleNamespace(run=SimpleNamespace(folder=tmp_path), detector=SimpleNamespace(content="d"))
    assert describe(empty) is None
