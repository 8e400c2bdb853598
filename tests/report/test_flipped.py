"""Replies that flipped: which items, what of them a page may show, and the pages they stand in."""

import re
from pathlib import Path
from typing import Any

import pytest

from hneurons.benchmarks.results import BenchmarkResult, summarize_run
from hneurons.benchmarks.runner import BenchmarkRun
from hneurons.core.artifacts import RowStore
from hneurons.records.record import RUN_STAGE, Condition, Record, RunSettings
from hneurons.report.bench_report import draw_forest, write_bench_report
from hneurons.report.flipped import SHOWN, find_flips, may_show_text
from hneurons.report.sweep_findings import state_sweep, warn_of_truncation

ALPHAS = (0.0, 0.5, 1.0, 3.0)
ABOUT = {"size": 3, "model": "tiny", "per_mille": 1.0, "scope": "all", "when_risk": None, "dtype": "float32"}


def outcome(item: int, alpha: float) -> float | None:
    """Items 0 to 9 rise at alpha 3, 10 falls at alpha 0, 11 is unscored at alpha 3, the others stay."""
    if item == 11 and alpha == 3.0:
        return None
    if item < 10:
        return float(alpha == 3.0)
    return float(alpha > 0) if item == 10 else float(item % 2)


def save_run(folder: Path, benchmark: str, *, cut: int = 0) -> BenchmarkResult:
    settings = RunSettings(
        benchmark=benchmark, outcome="made up", no_op=1.0, scaling="multiplicative",
        conditions={"h_neurons": Condition("neurons")}, max_tokens=9,
    )  # fmt: skip
    records = [
        Record(
            f"i{item}", "h_neurons", alpha, outcome=outcome(item, alpha), response=f"<b>said {item}</b> at {alpha}",
            n_tokens=item + 1, finish_reason="length" if item < cut and alpha == 3.0 else "stop",
        )
        for item in range(40)
        for alpha in ALPHAS
    ]  # fmt: skip
    store = RowStore(folder, stage=RUN_STAGE, settings=settings.to_row(), expected=1)
    store.commit([record.to_row() for record in records])
    store.finish({"items": 40, "judge": "rule"})
    return summarize_run(BenchmarkRun(settings, "rule", records))


def test_items_that_flip_at_either_end_are_found_with_their_replies_side_by_side(tmp_path: Path) -> None:
    found = find_flips(tmp_path, save_run(tmp_path, "falseqa"))
    assert found is not None and found.alphas == [0.0, 1.0, 3.0]
    assert (found.flipped, found.compared, len(found.rows)) == (11, 39, SHOWN)
    for row in found.rows:
        item = int(row["id"][1:])
        assert [cell["outcome"] for cell in row["cells"]] == [outcome(item, alpha) for alpha in found.alphas]
        assert [cell["text"] for cell in row["cells"]] == [f"<b>said {item}</b> at {alpha}" for alpha in found.alphas]


@pytest.mark.parametrize("benchmark", ["jailbreak", "jailbreak_graded", "jailbreak-of-a-plugin", "unknown"])
def test_no_text_of_replies_that_may_be_harmful_reaches_a_page(tmp_path: Path, benchmark: str) -> None:
    assert not may_show_text(benchmark)
    result = save_run(tmp_path / "there", benchmark)
    page = write_bench_report({"there": result}, ABOUT, tmp_path / "report.html").read_text()
    assert "Replies that flipped: 11 of 39" in page and "outcomes and lengths only" in page
    shown = page.split("Replies that flipped")[1].split("</details>")[0]
    assert "said" not in shown and shown.count("outcome <b>") == 3 * SHOWN


def test_the_page_of_a_sweep_has_verdict_forest_flips_landmarks_and_a_warning(tmp_path: Path) -> None:
    results: dict[str, Any] = {n: save_run(tmp_path / n, "falseqa", cut=c) for n, c in (("one", 0), ("two", 7))}
    page = write_bench_report(results, ABOUT, tmp_path / "report.html").read_text()
    assert f'<p class="verdict">{state_sweep(results)}</p>' in page
    assert "&lt;b&gt;said 0&lt;/b&gt; at 3.0" in page and "<b>said" not in page
    assert page.count("Up to 7 of 40 replies (at alpha 3) were cut off at 9 tokens") == 1
    for tag in ("header", "main", "nav aria-label="):
        assert page.count(f"<{tag}") == 1
    for name in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{name}"' in page
    assert "slopes of all benchmarks" in page


def test_without_records_or_for_one_benchmark_there_is_less_to_show(tmp_path: Path) -> None:
    result = save_run(tmp_path / "a", "falseqa")
    assert find_flips(tmp_path / "b", result) is None
    assert draw_forest({"a": result}) == "" and warn_of_truncation(result) == ""


def test_the_verdict_of_a_sweep_counts_what_moves(tmp_path: Path) -> None:
    rises = save_run(tmp_path / "a", "falseqa")
    assert state_sweep({"a": rises}) == ("Alpha moves a (1 of 1 benchmark); no random neurons were scaled beside them.")
