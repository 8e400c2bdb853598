"""What is said about a sweep: trends against chance and against random neurons, null results in as many words."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.answers.judges.known_error import describe_error
from hneurons.answers.judges.probability import Thresholds
from hneurons.benchmarks.results import BenchmarkResult, summarize_run
from hneurons.benchmarks.runner import BenchmarkRun
from hneurons.benchmarks.sweeps import results_json
from hneurons.cli.bench import print_results
from hneurons.core.errors import ArtifactError
from hneurons.core.files import write_atomic
from hneurons.core.stats import Estimate
from hneurons.core.wording import points
from hneurons.records.record import Condition, Record, RunSettings
from hneurons.report.bench_report import draw_sweep, run_sweeps, write_bench_report
from hneurons.report.sweep_findings import describe_judge, describe_sweep, judge_sweep, list_sweep_caveats

pytestmark = pytest.mark.slow  # a whole run is made first

ALPHAS = (0.0, 1.0, 2.0)
RNG = np.random.default_rng(0)


def outcomes(rates: tuple[float, ...], items: int = 200) -> list[np.ndarray]:
    """Nested outcomes at each alpha: an item counts from its own random level on, so that rates are as asked."""
    levels = RNG.permutation(items) / items
    return [(levels < rate).astype(float) for rate in rates]


def swept(
    selected: tuple[float, ...],
    controls: tuple[tuple[float, ...], ...] | dict[str, tuple[tuple[float, ...], ...]] = (),
    *,
    unscored: int = 0,
    judge: str = "rule",
    per_group: int = 0,
) -> BenchmarkResult:
    """A result with these rates at alpha 0, 1, 2, and controls of one kind or of several by name.

    `unscored` replies are without outcome at alpha 2; items stand `per_group` in a group.
    """
    by_kind = controls if isinstance(controls, dict) else {"layer_matched": controls}
    sets = {f"random_{kind}_{n}": (kind, rates) for kind, all_rates in by_kind.items()
            for n, rates in enumerate(all_rates)}  # fmt: skip
    named = {"h_neurons": selected} | {name: rates for name, (_, rates) in sets.items()}
    records = []
    for name, rates in named.items():
        for alpha, values in zip(ALPHAS, outcomes(rates), strict=True):
            for n, value in enumerate(values):
                lost = name == "h_neurons" and alpha == 2 and n < unscored
                records.append(
                    Record(f"i{n}", name, alpha, outcome=None if lost else float(value),
                           finish_reason="length" if lost else "stop", error="truncated" if lost else None,
                           group=f"g{n // per_group}" if per_group else None)
                )  # fmt: skip
    conditions = {n: Condition(f"random_{sets[n][0]}" if n in sets else "selected") for n in named}
    return summarize_run(BenchmarkRun(RunSettings("toy", "even", conditions=conditions, max_tokens=9), judge, records))


FLAT = (0.5, 0.5, 0.5)
RISING, FALLING, STEEP = (0.3, 0.5, 0.7), (0.7, 0.5, 0.3), (0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    ("selected", "controls", "expected"),
    [
        (FLAT, (FLAT, FLAT), "No trend can be told from chance"),
        (RISING, (), "rises .* No random neurons were scaled"),
        (RISING, (FLAT, FLAT), r"rises \(\+20.00 .*\), more than random neurons: above .*; 0 of 2 are as steep\.$"),
        (RISING, (FLAT,), r"rises .* more than random neurons: above .*; 0 of 1 is as steep\.$"),
        (RISING, (FLAT, FLAT, FLAT, RISING, STEEP), r"rises .*\), more than the mean of the random sets, but 2 of 5 "
                                                    r"are as steep: above the mean of 5 random sets \([^;]*\)\.$"),
        (RISING, (RISING, RISING), "rises .* no different from the mean of 2 random sets"),
        (RISING, (STEEP, STEEP), "rises .* but less than random neurons: below"),
        (FALLING, (FLAT, FLAT), r"falls \(-20.00 .*\), more than random neurons: below .*; 0 of 2 are as steep"),
        (FLAT, (FALLING, FALLING), "No trend .* though it is above the mean of 2 random sets"),
    ],
)  # fmt: skip
def test_a_trend_is_held_against_chance_and_against_random_neurons(selected: Any, controls: Any, expected: str) -> None:
    said = judge_sweep(swept(selected, controls))
    assert re.search(expected, said), said


BOTH = ("unconstrained", "layer_matched")


@pytest.mark.parametrize(
    ("selected", "controls", "expected"),
    [
        (RISING, (FLAT, FLAT), "more than random neurons of every kind: above the mean of 2 unconstrained random sets "
                               ".*; 0 of them as steep.*, above the mean of 2 layer-matched random sets"),
        (RISING, (RISING, RISING), "which is no different from the mean of 2 unconstrained .*, no different from the "
                                   "mean of 2 layer-matched"),
        (RISING, (STEEP, STEEP), "but less than random neurons: below .* unconstrained .*, below .* layer-matched"),
        (RISING, (FLAT, RISING), "kinds of random neurons disagree .*: above the mean of 2 unconstrained .*, "
                                 "no different from the mean of 2 layer-matched"),
        (RISING, (FLAT, STEEP), "kinds of random neurons disagree .*above .* unconstrained .*below .* layer-matched"),
        (RISING, (RISING, STEEP), "but not more than random neurons: no different .* unconstrained .*, below .* layer"),
        (FALLING, (FALLING, STEEP[::-1]), "but not more than random neurons: no different .*, above .* layer-matched"),
        (FLAT, (FLAT, FLAT), r"No trend can be told from chance: [^(]*per unit of alpha\.$"),
        (FLAT, (FALLING, FALLING), "though it is above the mean of 2 unconstrained .*, above the mean of 2 layer-ma"),
        (FLAT, (FALLING, FLAT), "No trend .* whose kinds disagree, it is above the mean of 2 unconstrained .* no diff"),
    ],
)  # fmt: skip
def test_each_kind_of_random_neurons_is_an_opponent_of_its_own(selected: Any, controls: Any, expected: str) -> None:
    result = swept(selected, {kind: (rates,) * 2 for kind, rates in zip(BOTH, controls, strict=True)})
    assert re.search(expected, judge_sweep(result)), judge_sweep(result)
    for one, kind, rates in zip(result.against, BOTH, controls, strict=True):
        alone = swept(selected, (rates,) * 2).against[0]
        assert (one.kind, one.controls, one.controls_below) == (kind, 2, alone.controls_below)
        assert one.slope_above_controls.value == pytest.approx(alone.slope_above_controls.value)
        assert one.above_controls["2"].value == pytest.approx(selected[2] - rates[2])


def test_a_kind_that_cannot_be_compared_is_neither_agreement_nor_disagreement() -> None:
    result = swept(RISING, {"unconstrained": (FLAT,), "layer_matched": (FLAT,)})
    blank = {"value": None, "low": None, "high": None, "n": 0}
    row = results_json({"toy": result}, {})["benchmarks"]["toy"]
    row["against"][1]["slope_above_controls"] = blank
    said = judge_sweep(BenchmarkResult.from_row(row))
    assert "more than random neurons of every kind compared: above the mean of 1 unconstrained" in said
    assert "not to be compared with 1 layer-matched random set (no item was scored under all of them)" in said
    still = results_json({"toy": swept(FLAT, dict.fromkeys(BOTH, (FALLING,)))}, {})["benchmarks"]["toy"]
    still["against"][1]["slope_above_controls"] = blank
    said = judge_sweep(BenchmarkResult.from_row(still))
    assert "disagree" not in said and "though it is above the mean of 1 unconstrained" in said


def test_one_steep_set_of_one_kind_is_said_before_all_kinds() -> None:
    said = judge_sweep(swept(RISING, {"unconstrained": (FLAT,) * 5, "layer_matched": (FLAT,) * 4 + (RISING,)}))
    assert ", more than the mean of the random sets, but 1 of 10 is as steep: above" in said
    assert "0 of them as steep" in said and "1 of them as steep" in said


def test_page_and_console_show_each_kind_and_the_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {"toy": swept(RISING, {"unconstrained": (FLAT,) * 3, "layer_matched": (RISING,) * 2}, per_group=4)}
    about = {"model": "m", "neurons": "n", "size": 3, "per_mille": 0.1, "scope": "all", "dtype": "float32"}
    text = write_bench_report(results, about | {"when_risk": None}, tmp_path / "page.html").read_text()
    assert "200 items in 50 groups" in text
    assert "above unconstrained controls, pp" in text and "above layer-matched controls, pp" in text
    assert "beside 3 unconstrained sets" in text and "beside 2 layer-matched sets" in text
    assert re.search(r"unconstrained</td><td>3</td><td>\+20.00 \[.*\]</td><td>200</td><td>3</td>", text)
    print_results(results)
    said = capsys.readouterr().out
    assert "200 items in 50 groups" in " ".join(said.split())
    for number, kind in ((3, "unconstrained"), (2, "layer-matched")):
        assert re.search(rf"slope above the mean of the {kind} sets: .* of {number} slope", " ".join(said.split()))
    one = {"toy": swept(RISING, (FLAT, FLAT))}
    text = write_bench_report(one, about | {"when_risk": None}, tmp_path / "page.html").read_text()
    assert "200 items;" in text and ">above controls, pp<" in text and "<th>groups</th>" not in text
    assert "range of 2 random sets" in text and "beside" not in draw_sweep(one["toy"])


def test_at_alpha_1_the_page_shows_no_difference_of_the_run_to_itself(tmp_path: Path) -> None:
    about = {"model": "m", "neurons": "n", "size": 3, "per_mille": 0.1, "scope": "all", "dtype": "float32"}
    page = write_bench_report({"toy": swept(FLAT, (FLAT,))}, about | {"when_risk": None}, tmp_path / "page.html")
    (row,) = re.findall(r"<tr><td>1</td>.*?</tr>", page.read_text().split("<details>")[1], re.DOTALL)
    assert row.count("[") == 1


def test_a_rate_that_cannot_move_further_is_said_to_be_at_the_edge_and_no_change_has_no_minus_sign() -> None:
    full, none = (" ".join(describe_sweep(swept((rate,) * 3))) for rate in (1.0, 0.02))
    assert "So near 100% it can hardly rise" in full and "So near 0% it can hardly fall" in none
    assert "hardly" not in " ".join(describe_sweep(swept(FLAT)))
    assert points(Estimate(-1e-17, -0.01, 0.01, 9)) == "+0.00 [-1.00, 1.00]"


def test_few_groups_and_fewer_items_than_asked_are_said() -> None:
    grouped = " ".join(describe_sweep(swept(RISING, per_group=50)))
    assert "The 200 items are of 4 groups, which are resampled whole. From so few groups" in grouped
    assert "From so few" not in " ".join(describe_sweep(swept(RISING, per_group=4)))
    assert "groups" not in " ".join(describe_sweep(swept(RISING)))
    thinned = " ".join(describe_sweep(swept(RISING, unscored=190, per_group=2)))
    assert "are of 100 groups" in thinned
    assert "At alpha 2 items of only 5 groups are scored. From so few groups" in thinned
    assert "From so few" not in " ".join(describe_sweep(swept(RISING, unscored=200, per_group=2)))
    said = judge_sweep(swept(RISING, (FLAT, FLAT), unscored=60))
    assert "over the 140 of 200 items scored at every alpha" in said
    assert "scored at every alpha" not in judge_sweep(swept(RISING, (FLAT, FLAT)))


def test_as_steep_counts_the_controls_that_fall_as_fast() -> None:
    said = judge_sweep(swept(FALLING, (FLAT, FLAT, FLAT, FLAT, STEEP[::-1])))
    assert "falls (-20.00" in said and "but 1 of 5 is as steep: below" in said


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


def test_where_no_item_is_scored_at_an_alpha_nothing_is_said_about_it() -> None:
    lost = swept(FLAT, unscored=200)
    said = " ".join(describe_sweep(lost))
    assert "At no alpha" not in said
    assert "No item was scored both at alpha = 1 and at alpha 2, so nothing is known there." in said
    assert "was not scored at alpha 2: the model may be broken" in " ".join(list_sweep_caveats({"copying": lost}))


def test_rates_at_both_ends_changes_and_lost_replies_are_told() -> None:
    flat = " ".join(describe_sweep(swept(FLAT)))
    assert "50.0 [43.1, 56.9]% of 200 items at alpha = 1" in flat
    assert "At no alpha is the rate different" in flat
    assert "replies" not in flat
    rising = " ".join(describe_sweep(swept(RISING, unscored=30)))
    assert "Different from alpha = 1 at 2 of 2 alphas: -20.00" in rising
    assert "Without outcome, of 200 replies each: 0 at alpha 0, 0 at alpha 1, 30 at alpha 2." in rising
    assert "Cut off by the limit of 9 tokens, of 200 each: 0 at alpha 0, 0 at alpha 1, 30 at alpha 2." in rising
    assert re.search(r"Whatever the replies without outcome hold, the rate lies in \[\d+.\d, \d+.\d\]% at 2\.", rising)
    assert re.search(r"The slope over all items lies in \[\d+.\d\d, \d+.\d\d\] pp; .* \(n=200\)", rising)


def test_a_trend_that_the_unscored_replies_could_undo_says_so() -> None:
    assert "could undo" in judge_sweep(swept((0.4, 0.5, 0.6), unscored=80))
    assert "could undo" not in judge_sweep(swept((0.1, 0.5, 0.9), unscored=10))
    assert "could undo" not in judge_sweep(swept(RISING))


def test_caveats_name_the_inert_control_the_judges_and_the_number_of_comparisons() -> None:
    alone = " ".join(list_sweep_caveats({"falseqa": swept(FLAT)}))
    assert "Without 'copying'" in alone
    assert "No model judged falseqa" in alone
    assert "random sets" not in alone
    both = {"falseqa": swept(FLAT, (FLAT, FLAT), judge="llm: big"), "copying": swept((0.9, 0.9, 0.2))}
    said = " ".join(list_sweep_caveats(both))
    assert "moves at alpha 2: there the model is damaged" in said
    assert "No model judged" not in said
    assert "above all of 2 random sets of a kind happens by chance one time in 3, lying below all of them as" in said
    assert "4 comparisons with alpha = 1 and 2 with random sets" in said
    still = " ".join(list_sweep_caveats({"copying": swept(FLAT)}))
    assert re.search(r"\(50.0 \[.*\]% at alpha = 1\), moves at no alpha \(a fall by more than \d+.\d points", still)


def copied(base: int, gained: int, lost: int, items: int = 200) -> str:
    """What is said of the inert control where `base` of the items hold at alpha 1, and so many change at alpha 2."""
    before = [float(n < base) for n in range(items)]
    after = [float(lost <= n < base + gained) for n in range(items)]
    records = [Record(f"i{n}", "h_neurons", alpha, outcome=value)
               for alpha, values in ((1.0, before), (2.0, after)) for n, value in enumerate(values)]  # fmt: skip
    run = BenchmarkRun(RunSettings("copying", "copied", conditions={"h_neurons": Condition()}), "rule", records)
    return list_sweep_caveats({"copying": summarize_run(run)})[0]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ((180, 0, 0), r"moves at no alpha \(a fall by more than 1.9 points is ruled out\)"),
        ((180, 1, 0), r"moves at no alpha \(a fall by more than 1.9 points is ruled out\)"),
        ((180, 0, 1), r"moves at no alpha \(a fall by more than 2.8 points is ruled out\)"),
        ((180, 0, 6), "moves at alpha 2: there the model is damaged"),
        ((180, 0, 5), r"moves at alpha 2 in so few items that .* chance: .* left open, but no fall by more than 5.7"),
        ((180, 5, 0), r"moves at alpha 2 in so few items that .* chance: .* left open, but no fall by more than 1.9"),
        ((4, 0, 0), r"\(2.0 \[.*\]% at alpha = 1\), can hardly fall, so it shows nothing"),
        ((10, 0, 0, 10), r"\), leaves a fall by 27.8 points open: it cannot show whether the model is damaged"),
        ((3, 0, 3, 3), "leaves a fall by 100.0 points open: it cannot show"),
    ],
)  # fmt: skip
def test_the_inert_control_says_only_what_its_items_can_show(changed: tuple[int, ...], expected: str) -> None:
    assert re.search(expected, copied(*changed)), copied(*changed)
    assert ("no sign of a broken model" in copied(*changed)) == ("no alpha" in expected)


def test_a_sweep_of_alpha_1_alone_says_so() -> None:
    records = [Record(f"i{n}", "h_neurons", 1.0, outcome=1.0) for n in range(9)]
    run = BenchmarkRun(RunSettings("copying", "copied", conditions={"h_neurons": Condition()}), "rule", records)
    alone = summarize_run(run)
    assert judge_sweep(alone) == "Only alpha = 1 was run, so nothing can be said about a trend."
    said = " ".join(list_sweep_caveats({"copying": alone}))
    assert "was run at alpha = 1 only: the model may be broken at any other." in said
    assert "0 comparisons" not in said


def test_a_page_of_a_sweep_says_all_that_and_damaged_results_are_named(tmp_path: Path) -> None:
    results = {"falseqa": swept(RISING, (FLAT, FLAT)), "copying": swept(FLAT)}
    about = {"model": "m", "neurons": "n", "size": 3, "per_mille": 0.1, "scope": "all", "dtype": "float32"}
    text = write_bench_report(results, about | {"when_risk": None}, tmp_path / "page.html").read_text()
    for result in results.values():
        assert judge_sweep(result).split(" [")[0] in text
    assert all(caveat.split("'")[0] in text for caveat in list_sweep_caveats(results))
    assert run_sweeps(tmp_path, "n") == []
    place = tmp_path / "bench" / "mine"
    place.mkdir(parents=True)
    write_atomic(place / "results.json", json.dumps(results_json(results, about)))
    (found,) = run_sweeps(tmp_path, "n")
    assert found["place"] == "mine"
    assert [s["name"] for s in found["sections"]] == ["falseqa", "copying"]
    others = {"nonexist": {"nonexist": swept(FLAT)}, "risky": {"nonexist": swept(FLAT)}, "again": results}
    for name, result in others.items():
        (tmp_path / "bench" / name).mkdir()
        row = results_json(result, about | {"when_risk": 0.5 if name == "risky" else None, "versions": {"x": name}})
        write_atomic(tmp_path / "bench" / name / "results.json", json.dumps(row))
    found = {sweep["place"]: [s["name"] for s in sweep["sections"]] for sweep in run_sweeps(tmp_path, "n")}
    assert found == {
        "again, nonexist": ["falseqa", "copying", "nonexist"],
        "mine": ["falseqa", "copying"],
        "risky": ["nonexist"],
    }
    refitted = {sweep["place"]: sweep["outdated"] for sweep in run_sweeps(tmp_path, "other")}
    assert all(refitted.values()) and not any(sweep["outdated"] for sweep in run_sweeps(tmp_path, "n"))
    (tmp_path / "bench" / "a-first").mkdir()
    row = results_json({"nonexist": swept(FLAT)}, about | {"when_risk": None, "neurons": "other"})
    write_atomic(tmp_path / "bench" / "a-first" / "results.json", json.dumps(row))
    marked = [(sweep["place"], sweep["outdated"]) for sweep in run_sweeps(tmp_path, "n")]
    assert marked == [("again, nonexist", False), ("mine", False), ("risky", False), ("a-first", True)]
    (place / "results.json").write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        run_sweeps(tmp_path, "n")


def test_the_judges_known_error_stands_on_page_and_console(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    known = describe_error("alias", Thresholds(0.05, 0.9))
    results = {"facts": replace(swept(FLAT, judge="alias"), known_error=known), "toy": swept(FLAT)}
    about = {"model": "m", "neurons": "n", "size": 3, "per_mille": 0.1, "scope": "all", "dtype": "float32"}
    page = write_bench_report(results, about | {"when_risk": None}, tmp_path / "page.html").read_text()
    assert html.unescape(page).count("Known error of this judge") == 1 and known in html.unescape(page)
    print_results(results)
    assert "Known error of this judge: 'correct' is wrong in" in " ".join(capsys.readouterr().out.split())
    assert describe_judge(swept(FLAT, judge="alias")) == (
        "The error of the judge 'alias' was not recorded with these results."
    )


@pytest.mark.parametrize("unscored", [0, 30])
def test_a_table_has_a_column_for_the_unscored_only_where_there_are_any(tmp_path: Path, unscored: int) -> None:
    about = {"model": "m", "size": 3, "per_mille": 0.1, "scope": "all", "when_risk": None, "versions": {}, "seed": 0}
    result = {"toy": swept(RISING, unscored=unscored)}
    page = write_bench_report(result, about | {"controls": {}, "dtype": "float32"}, tmp_path / "page.html").read_text()
    assert ('<th class="words">unscored</th>' in page) == bool(unscored)
