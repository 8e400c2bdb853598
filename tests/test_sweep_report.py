"""What is said about a sweep: trends against chance and against random neurons, null results in as many words."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.benchmarks.results import BenchmarkResult, results_json, summarize_run
from hneurons.benchmarks.runner import BenchmarkRun
from hneurons.core.artifacts import write_atomic
from hneurons.core.errors import ArtifactError
from hneurons.core.records import Condition, Record, RunSettings
from hneurons.report.bench_report import draw_sweep, run_sweeps, write_bench_report
from hneurons.report.sweep_findings import describe_sweep, judge_sweep, list_sweep_caveats

ALPHAS = (0.0, 1.0, 2.0)
RNG = np.random.default_rng(0)


def outcomes(rates: tuple[float, ...], items: int = 200) -> list[np.ndarray]:
    """Nested outcomes at each alpha: an item counts from its own random level on, so that rates are as asked."""
    levels = RNG.permutation(items) / items
    return [(levels < rate).astype(float) for rate in rates]


def swept(
    selected: tuple[float, ...], controls: tuple[tuple[float, ...], ...] = (), *, unscored: int = 0, judge: str = "rule"
) -> BenchmarkResult:
    """A result with these rates at alpha 0, 1, 2; `unscored` replies without outcome at alpha 2."""
    named = {"h_neurons": selected} | {f"random_{n}": rates for n, rates in enumerate(controls)}
    records = []
    for name, rates in named.items():
        for alpha, values in zip(ALPHAS, outcomes(rates), strict=True):
            for n, value in enumerate(values):
                lost = name == "h_neurons" and alpha == 2 and n < unscored
                records.append(
                    Record(f"i{n}", name, alpha, outcome=None if lost else float(value),
                           finish_reason="length" if lost else "stop", error="truncated" if lost else None)
                )  # fmt: skip
    conditions = {n: Condition("random_layer_matched" if n.startswith("random") else "selected") for n in named}
    return summarize_run(BenchmarkRun(RunSettings("toy", "even", conditions=conditions, max_tokens=9), judge, records))


FLAT = (0.5, 0.5, 0.5)
RISING, FALLING, STEEP = (0.3, 0.5, 0.7), (0.7, 0.5, 0.3), (0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    ("selected", "controls", "expected"),
    [
        (FLAT, (FLAT, FLAT), "No trend can be told from chance"),
        (RISING, (), "rises .* No random neurons were scaled"),
        (RISING, (FLAT, FLAT), r"rises .* more than random neurons: above .*; 0 of them are as steep"),
        (RISING, (RISING, RISING), "rises .* no different from the mean of 2 random sets"),
        (RISING, (STEEP, STEEP), "rises .* but less than random neurons: below"),
        (FALLING, (FLAT, FLAT), r"falls .* more than random neurons: below .*; 0 of them are as steep"),
        (FLAT, (FALLING, FALLING), "No trend .* though it is above the mean of 2 random sets"),
    ],
)
def test_a_trend_is_held_against_chance_and_against_random_neurons(selected: Any, controls: Any, expected: str) -> None:
    said = judge_sweep(swept(selected, controls))
    assert re.search(expected, said), said


def test_as_steep_counts_the_controls_that_fall_as_fast() -> None:
    said = judge_sweep(swept(FALLING, (FLAT, FLAT, FLAT, FLAT, STEEP[::-1])))
    assert "1 of them are as steep" in said


def test_rates_that_never_differ_are_no_trend_whatever_rounding_makes_of_them() -> None:
    assert "No trend" in judge_sweep(swept((1.0, 1.0, 1.0), ((1.0, 1.0, 1.0),)))


@pytest.mark.parametrize("items", [3, 7, 14, 40])
def test_rates_of_none_and_of_all_are_drawn(items: int) -> None:
    for rate in (0.0, 1.0):
        found = [outcomes((rate,) * 3, items)[0][0] for _ in range(items)]
        records = [Record(f"i{n}", "h_neurons", a, outcome=float(v)) for n, v in enumerate(found) for a in ALPHAS]
        run = BenchmarkRun(RunSettings("toy", "even", conditions={"h_neurons": Condition()}), "rule", records)
        assert draw_sweep(summarize_run(run)).startswith("<svg")


def test_where_nothing_is_scored_at_every_alpha_nothing_is_said_about_a_trend() -> None:
    assert "nothing can be said" in judge_sweep(swept(FLAT, unscored=200))


def test_rates_at_both_ends_changes_and_lost_replies_are_told() -> None:
    flat = " ".join(describe_sweep(swept(FLAT)))
    assert "50.0 [43.1, 56.9]% of 200 items at alpha = 1" in flat
    assert "At no alpha is the rate different" in flat
    assert "replies" not in flat
    rising = " ".join(describe_sweep(swept(RISING, unscored=30)))
    assert "Different from alpha = 1 at 2 of 2 alphas: -20.00" in rising
    assert "At alpha = 2, 30 of 200 replies have no outcome, at alpha = 1 0." in rising
    assert "At alpha = 2, 30 of 200 replies are cut off by the token limit, at alpha = 1 0." in rising


def test_caveats_name_the_inert_control_the_judges_and_the_number_of_comparisons() -> None:
    alone = " ".join(list_sweep_caveats({"falseqa": swept(FLAT)}))
    assert "Without 'copying'" in alone
    assert "No model judged falseqa" in alone
    assert "random sets" not in alone
    both = {"falseqa": swept(FLAT, (FLAT, FLAT), judge="llm: big"), "copying": swept((0.9, 0.9, 0.2))}
    said = " ".join(list_sweep_caveats(both))
    assert "moves at alpha 2: there the model is damaged" in said
    assert "No model judged" not in said
    assert "beyond all of 2 random sets happens by chance one time in 3" in said
    assert "4 comparisons" in said
    assert "moves at no alpha" in " ".join(list_sweep_caveats({"copying": swept(FLAT)}))


def test_a_page_of_a_sweep_says_all_that_and_damaged_results_are_named(tmp_path: Path) -> None:
    results = {"falseqa": swept(RISING, (FLAT, FLAT)), "copying": swept(FLAT)}
    about = {"model": "m", "neurons": "n", "size": 3, "per_mille": 0.1, "scope": "all", "dtype": "float32"}
    text = write_bench_report(results, about | {"when_risk": None}, tmp_path / "page.html").read_text()
    for result in results.values():
        assert judge_sweep(result).split(" [")[0] in text
    assert all(caveat.split("'")[0] in text for caveat in list_sweep_caveats(results))
    assert run_sweeps(tmp_path) == []
    place = tmp_path / "bench" / "mine"
    place.mkdir(parents=True)
    write_atomic(place / "results.json", json.dumps(results_json(results, about)))
    (found,) = run_sweeps(tmp_path)
    assert found["place"] == "mine"
    assert [s["name"] for s in found["sections"]] == ["falseqa", "copying"]
    others = {"nonexist": {"nonexist": swept(FLAT)}, "risky": {"nonexist": swept(FLAT)}, "again": results}
    for name, result in others.items():
        (tmp_path / "bench" / name).mkdir()
        row = results_json(result, about | {"when_risk": 0.5 if name == "risky" else None, "versions": {"x": name}})
        write_atomic(tmp_path / "bench" / name / "results.json", json.dumps(row))
    found = {sweep["place"]: [s["name"] for s in sweep["sections"]] for sweep in run_sweeps(tmp_path)}
    assert found == {
        "again, nonexist": ["falseqa", "copying", "nonexist"],
        "mine": ["falseqa", "copying"],
        "risky": ["nonexist"],
    }
    (place / "results.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        run_sweeps(tmp_path)
