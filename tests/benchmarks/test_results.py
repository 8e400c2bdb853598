"""Results of a sweep against numbers worked out by hand: rates, changes, groups, comparisons with random neurons."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hneurons.benchmarks.results import summarize_run
from hneurons.benchmarks.runner import BenchmarkRun
from hneurons.benchmarks.sweeps import earlier_results, load_sweep, results_json, save_sweep
from hneurons.core.artifacts import RowStore
from hneurons.core.errors import ArtifactError, InputError
from hneurons.core.stats import bootstrap_means, wilson
from hneurons.records.record import NOT_ASKED, RUN_STAGE, Condition, Record, RunSettings
from support.damage import survivors


def recorded(outcomes: dict[str, dict[float, list[float | None]]], groups: Sequence[str] = ()) -> BenchmarkRun:
    kinds = {name: Condition("random_layer_matched" if "random" in name else "selected") for name in outcomes}
    records = [
        Record(f"i{n}", name, alpha, outcome=value, error=None if value is not None else "truncated",
               finish_reason="length" if value is None else "stop", group=groups[n] if groups else None)
        for name, by_alpha in outcomes.items() for alpha, values in by_alpha.items() for n, value in enumerate(values)
    ]  # fmt: skip
    return BenchmarkRun(RunSettings("toy", "even", conditions=kinds, max_tokens=9), "rule", records)


def test_rates_changes_and_counts_are_those_worked_out_by_hand() -> None:
    found = summarize_run(
        recorded({
            "h_neurons": {0.0: [0, 0, 0, 0], 1.0: [0, 0, 1, 1], 2.0: [1, 1, 0, None]},
            "random_0": {0.0: [0, 0, 1, 1], 1.0: [0, 0, 1, 1], 2.0: [0, 0, 1, 1]},
        })
    )  # fmt: skip
    zero, one, two = found.selected.alphas
    assert (zero.rate.value, one.rate.value, two.rate.value) == (0.0, 0.5, pytest.approx(2 / 3))
    assert (two.rate.n, two.unscored, two.truncated) == (3, {"truncated": 1}, 1)
    assert (zero.gained, zero.lost, two.gained, two.lost) == (0, 2, 2, 1)
    assert zero.change.value == -0.5
    assert (two.change.value, two.change.n) == (pytest.approx(1 / 3), 3)
    # Items 0 to 2 are scored at all alphas: rates 0, 1/3, 2/3.
    assert (found.selected.slope.value, found.selected.slope.n) == (pytest.approx(1 / 3), 3)
    assert found.conditions[1].slope.value == pytest.approx(0)
    (against,) = found.against
    assert against.above_controls["0"].value == -0.5
    assert against.above_controls["1"].value == 0
    assert (against.kind, against.controls, against.controls_below) == ("layer_matched", 1, 1)
    assert (found.groups, two.groups) == (4, 3)
    assert json.loads(json.dumps(found.to_row()))["items"] == 4


def test_unscored_replies_have_bounds_and_a_reading_that_weights_by_who_stays_scored() -> None:
    found = summarize_run(recorded({"h_neurons": {0.0: [0, 0, 1, 1], 1.0: [0, 0, 1, 1], 2.0: [0, None, 1, None]}}))
    zero, _, two = found.selected.alphas
    assert zero.bounds is None
    assert two.bounds == pytest.approx((0.25, 0.75))
    assert found.selected.slope_bounds == pytest.approx((-0.125, 0.125))
    weighted = found.selected.slope_weighted
    assert weighted is not None and (weighted.value, weighted.n) == (pytest.approx(0.0), 4)
    whole = summarize_run(recorded({"h_neurons": {0.0: [0, 1], 1.0: [0, 1]}})).selected
    assert (whole.slope_bounds, whole.slope_weighted) == (None, None)


def test_undecided_replies_are_counted_together_whatever_the_probability_of_each() -> None:
    run = recorded({"h_neurons": {1.0: [0, 1, None, None], 2.0: [1, None, None, None]}})
    said = iter(("right with a probability of 0.31", "right with a probability of 0.44", "empty reply", "x", "x"))
    records = [replace(r, error=next(said)) if r.outcome is None else r for r in run.records]
    found = summarize_run(run._replace(records=records)).selected.alphas
    assert [at.unscored for at in found] == [{"undecided": 2}, {"empty reply": 1, "x": 2}]


def test_items_that_were_never_asked_are_not_missed() -> None:
    run = recorded({"h_neurons": {1.0: [0, 1, None], 2.0: [1, 1, None]}})
    apart = [replace(r, error=NOT_ASKED) if r.outcome is None else r for r in run.records]
    found = summarize_run(run._replace(records=apart)).selected
    assert found.slope_bounds is None and found.alphas[1].bounds is None
    assert found.alphas[1].unscored == {NOT_ASKED: 1}


def test_a_change_that_no_item_contradicts_excludes_zero_and_one_that_cancels_does_not() -> None:
    rises = {"h_neurons": {1.0: [0.0] * 60, 2.0: [1.0] * 30 + [0.0] * 30}}
    cancels = {"h_neurons": {1.0: [0.0, 1.0] * 30, 2.0: [1.0, 0.0] * 30}}
    up, flat = (summarize_run(recorded(r)).selected.alphas[1].change for r in (rises, cancels))
    assert up.low > 0.3
    assert flat.value == 0
    assert flat.low < -0.1 < 0.1 < flat.high


def repeated(times: int, count: int = 30) -> BenchmarkRun:
    """Outcomes of `count` groups, every item of a group having the same."""
    rng = np.random.default_rng(5)
    drawn = {name: {a: rng.integers(0, 2, count).repeat(times).astype(float).tolist() for a in (0.0, 1.0, 2.0)}
             for name in ("h_neurons", "random_0", "random_1")}  # fmt: skip
    return recorded(drawn, [f"g{n // times}" for n in range(count * times)] if times > 1 else ())


def test_items_repeated_within_their_group_tell_nothing_new() -> None:
    alone, told = summarize_run(repeated(1)), summarize_run(repeated(6))
    assert (told.items, told.groups, alone.items, alone.groups) == (180, 30, 30, 30)
    (one,), (many,) = alone.against, told.against
    pairs = [(alone.selected.slope, told.selected.slope), (one.slope_above_controls, many.slope_above_controls)]
    pairs += [(a.change, b.change) for a, b in zip(alone.selected.alphas, told.selected.alphas, strict=True)]
    pairs += [(one.above_controls[alpha], many.above_controls[alpha]) for alpha in ("0", "1", "2")]
    for single, group in pairs:
        assert (group.value, group.low, group.high) == pytest.approx((single.value, single.low, single.high))
        assert (single.n, group.n) == (30, 180)
    for at in told.selected.alphas:
        naive = wilson(round(at.rate.value * 180), 180)
        assert (at.rate.n, at.groups) == (180, 30)
        assert at.rate.high - at.rate.low > 2 * (naive.high - naive.low)
    for at in alone.selected.alphas:
        assert at.rate == wilson(round(at.rate.value * 30), 30)


def test_the_rate_of_groups_of_different_sizes_is_that_of_its_items_with_whole_groups_resampled() -> None:
    groups = list("aaaaaabbbccdefghij")
    values = [float(letter in "acfhj") for letter in groups]
    at = summarize_run(recorded({"h_neurons": {1.0: values}}, groups)).selected.alphas[0]
    draws = bootstrap_means(np.array(values)[:, None], groups=groups)[:, 0]
    assert at.rate.value == pytest.approx(np.mean(values))
    assert (at.rate.low, at.rate.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])))
    assert (at.rate.n, at.groups) == (18, 10)


def test_where_all_items_are_alike_intervals_are_what_wilson_leaves_open() -> None:
    still = recorded({"h_neurons": {1.0: [1.0] * 20, 2.0: [1.0] * 20}, "random_0": {1.0: [1.0] * 20, 2.0: [1.0] * 20}})
    found, open_ = summarize_run(still), wilson(0, 20).high
    one, two = found.selected.alphas
    assert (one.change.low, one.change.high) == (0, 0)
    assert (two.change.value, two.change.low, two.change.high) == pytest.approx((0, -open_, open_))
    assert found.against[0].above_controls["2"].low == pytest.approx(-open_)
    assert found.against[0].above_controls["1"].low == 0
    groups = [f"g{n % 4}" for n in range(20)]
    grouped = summarize_run(recorded({"h_neurons": {1.0: [0.0] * 20, 2.0: [1.0] * 20}}, groups)).selected
    for at, known in zip(grouped.alphas, (wilson(0, 4), wilson(4, 4)), strict=True):
        assert (at.rate.low, at.rate.high) == pytest.approx((known.low, known.high))
    slope = found.against[0].slope_above_controls
    assert (slope.low, slope.high) == pytest.approx((-open_, open_))  # at alpha 1 the gap is 0 by construction
    single = summarize_run(recorded({"h_neurons": {1.0: [0.0] * 9, 2.0: [1.0] * 9}}, ["g"] * 9)).selected
    assert single.alphas[1].change.value == 1
    assert single.alphas[1].change.low < 0


def test_results_of_an_earlier_version_are_made_again_from_their_records(tmp_path: Path) -> None:
    made = repeated(6)
    store = RowStore(tmp_path / "toy", stage=RUN_STAGE, settings=made.settings.to_row(), expected=1)
    store.commit([record.to_row() for record in made.records])
    store.finish({"judge": made.judge})
    row = results_json({"toy": summarize_run(made)}, {"size": 3})
    (against,) = row["benchmarks"]["toy"].pop("against")
    del row["benchmarks"]["toy"]["groups"]
    row["benchmarks"]["toy"] |= {name: value for name, value in against.items() if name != "kind"}
    (tmp_path / "results.json").write_text(json.dumps(row))
    assert load_sweep(tmp_path).results["toy"] == summarize_run(made)
    empty = RowStore(tmp_path / "none", stage=RUN_STAGE, settings=made.settings.to_row(), expected=0)
    empty.finish({"judge": made.judge})
    row["benchmarks"]["none"] = {}
    (tmp_path / "results.json").write_text(json.dumps(row))
    with pytest.raises(ArtifactError, match="damaged"):
        load_sweep(tmp_path)
    del row["benchmarks"]["none"]
    (tmp_path / "results.json").write_text(json.dumps(row))
    (tmp_path / "toy" / "rows.jsonl").write_text("")
    with pytest.raises(ArtifactError, match=r"of an earlier version .* delete both and run 'bench' again"):
        load_sweep(tmp_path)


def test_without_controls_and_with_nothing_scored_results_are_unknown_not_zero() -> None:
    found = summarize_run(recorded({"h_neurons": {1.0: [None, None], 2.0: [None, None]}}))
    assert found.selected.alphas[0].rate.n == 0
    assert np.isnan(found.selected.alphas[0].rate.value)
    assert np.isnan(found.selected.slope.value)
    assert found.against == ()
    assert "NaN" not in json.dumps(results_json({"toy": found}, {}))


def test_a_sweep_is_read_as_it_was_written_with_its_unknown_numbers(tmp_path: Path) -> None:
    known = summarize_run(recorded({"h_neurons": {0.0: [0, 1], 1.0: [1, 1]}, "random_0": {0.0: [1, 1], 1.0: [1, 1]}}))
    unknown = summarize_run(recorded({"h_neurons": {1.0: [None, None], 2.0: [None, None]}}))
    row = results_json({"known": known, "unknown": unknown}, {"size": 3})
    (tmp_path / "results.json").write_text(json.dumps(row))
    found = load_sweep(tmp_path)
    assert found.about == {"size": 3}
    assert found.results["known"] == known
    assert repr(found.results["unknown"]) == repr(unknown)
    (tmp_path / "results.json").write_text(json.dumps(row)[:-9])
    with pytest.raises(ArtifactError, match="damaged"):
        load_sweep(tmp_path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda row: row.update(conditions=[]), "no selected condition"),
        (lambda row: row["conditions"].pop(0), "no selected condition"),
        (lambda row: row["conditions"][0].update(alphas=[]), "not all at the same alphas"),
        (lambda row: row["conditions"][1].update(alphas=[]), "not all at the same alphas"),
        (lambda row: row["conditions"][1]["alphas"].pop(), "not all at the same alphas"),
        (lambda row: [c["alphas"].pop(1) for c in row["conditions"]], "not all at the same alphas"),
        (lambda row: row["conditions"][0]["alphas"][0].update(alpha="two"), "alpha' should be a number"),
        (lambda row: row["conditions"][0]["alphas"][0].update(gained="two"), "gained' should be a whole number"),
        (lambda row: row["conditions"][0]["alphas"][0]["rate"].update(value="two"), "rate.value' should be a number"),
        (lambda row: row["conditions"].pop(1), "comparison with layer_matched sets is not whole"),
        (lambda row: row["against"][0]["above_controls"].clear(), "comparison with layer_matched sets is not whole"),
    ],
)
def test_results_whose_parts_do_not_belong_together_are_damaged(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object], reason: str
) -> None:
    whole = recorded({"h_neurons": {0.0: [0, 1], 1.0: [1, 1]}, "random_0": {0.0: [1, 1], 1.0: [1, 1]}})
    row = results_json({"toy": summarize_run(whole)}, {})
    damage(row["benchmarks"]["toy"])
    (tmp_path / "results.json").write_text(json.dumps(row))
    with pytest.raises(ArtifactError, match=f"damaged .*{reason}"):
        load_sweep(tmp_path)


@pytest.mark.parametrize("name", ["a/b", "/a", "..", "a\\b", ""])
def test_a_benchmark_whose_name_leads_elsewhere_is_damage(tmp_path: Path, name: str) -> None:
    row = results_json({name: summarize_run(recorded({"h_neurons": {1.0: [1.0]}}))}, {})
    for values in (row["benchmarks"][name], {}):
        row["benchmarks"][name] = values
        (tmp_path / "results.json").write_text(json.dumps(row))
        with pytest.raises(ArtifactError, match=r"damaged .* no name of a benchmark"):
            load_sweep(tmp_path)


@pytest.mark.slow
def test_benchmarks_side_by_side_keep_each_others_results_and_edited_ones_are_refused(tmp_path: Path) -> None:
    found = summarize_run(recorded({"h_neurons": {1.0: [1.0, 0.0], 2.0: [1.0, 1.0]}}))
    about = {"size": 3, "versions": {"a": "1"}, "odd": (1, math.nan)}
    assert earlier_results(tmp_path, about) == {}
    save_sweep(tmp_path, {"one": found}, about)
    merged = save_sweep(tmp_path, {"two": found}, about | {"versions": {"a": "2"}})
    assert merged.results == load_sweep(tmp_path).results == {"one": found, "two": found}
    with pytest.raises(InputError, match="it differs in size"):
        save_sweep(tmp_path, {"three": found}, about | {"size": 4})
    assert load_sweep(tmp_path).results == merged.results
    assert survivors(tmp_path, lambda: load_sweep(tmp_path), names=["results.json"], count=500) == []
    path = tmp_path / "results.json"
    path.write_text(path.read_text().replace('"gained": 1', '"gained": 2'))
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        load_sweep(tmp_path)
