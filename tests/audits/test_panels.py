"""Effect, populations and side effects on planted runs."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hneurons.audits import AuditResult, Finding, Run, audit_effect, audit_populations, audit_side_effects, make_run
from hneurons.audits.panels import Panel, build_panels, subtract
from hneurons.audits.populations import count_populations
from hneurons.core.errors import InputError
from hneurons.core.stats import wilson
from hneurons.records.record import Condition, RunSettings
from hneurons.records.scores import multiple_choice_scores

ALPHAS = (0.0, 1.0, 2.0, 3.0)


def planted(effect: float, *, n: int = 400, controls: int = 2, seed: int = 0, **settings: Any) -> Run:
    """Each item has a threshold; the selected condition moves it by `effect` per alpha, the controls do not."""
    rng = np.random.default_rng(seed)
    threshold = rng.random(n)
    rows = []
    for name in ("chosen", *(f"random{k}" for k in range(controls))):
        for alpha in ALPHAS:
            shift = effect * (alpha - 1) if name == "chosen" else 0.0
            rows += [
                {"id": str(i), "condition": name, "alpha": alpha, "outcome": float(t < 0.5 + shift)}
                for i, t in enumerate(threshold)
            ]
    conditions = {"chosen": Condition("selected")} | {f"random{k}": Condition("random") for k in range(controls)}
    return make_run("planted", RunSettings("toy", conditions=conditions, **settings), rows)


def finding(result: AuditResult, text: str) -> Finding:
    (found,) = [f for f in result.findings if text in f.claim]
    return found


def test_a_planted_effect_is_supported_and_its_slope_recovered() -> None:
    run = planted(0.05)
    result = audit_effect([run])
    assert finding(result, "amplification").verdict == "supported"
    assert finding(result, "exceeds that of its random controls").verdict == "supported"
    panel = build_panels(run)["chosen"]
    expected = np.polyfit(ALPHAS, [panel.count(a) / 400 for a in ALPHAS], 1)[0]
    slope = panel.slope()
    assert slope.value == pytest.approx(expected) and slope.low < 0.05 < slope.high


def test_no_effect_is_not_shown() -> None:
    result = audit_effect([planted(0.0)])
    assert finding(result, "amplification").verdict == "not shown"
    assert finding(result, "exceeds").verdict == "not shown"


def test_ablation_and_no_op_are_named_apart() -> None:
    result = audit_effect([planted(0.05)])
    assert "against no-op" in finding(result, "amplification (alpha 1 to 3)").evidence
    assert "against ablation, not the no-op" in finding(result, "ablation to maximum (alpha 0 to 3)").evidence
    additive = planted(0.05, no_op=0.0, scaling="additive")
    assert not [f for f in audit_effect([additive]).findings if "ablation" in f.claim]


def test_a_no_op_that_skips_the_intervention_makes_its_comparisons_untestable() -> None:
    run = planted(0.0)
    rows = [r.to_row() for r in run.records]
    for row in rows:
        if row["alpha"] != 1.0 and int(row["id"]) % 5 == 0:
            row["outcome"] = 1.0
    result = audit_effect([make_run("jump", run.settings, rows)])
    assert finding(result, "lies on the curve").verdict == "contradicted"
    assert finding(result, "amplification").verdict == "not testable"


def test_outcomes_that_differ_at_the_no_op_are_counted() -> None:
    run = planted(0.0)
    rows = [r.to_row() for r in run.records]
    for row in rows:
        if row["condition"] == "random1" and row["alpha"] == 1.0 and row["id"] in ("3", "4"):
            row["outcome"] = 1.0 - row["outcome"]
    found = finding(audit_effect([make_run("noise", run.settings, rows)]), "same outcomes at the no-op")
    assert found.verdict == "contradicted" and "2 of 400" in found.evidence


def test_unscored_cells_are_left_out_of_rates_and_counted() -> None:
    run = planted(0.0, controls=0)
    rows = [r.to_row() for r in run.records]
    for row in rows:
        if row["alpha"] == 3.0 and int(row["id"]) < 40:
            row["outcome"], row["error"] = None, "judge failed"
    result = audit_effect([make_run("holes", run.settings, rows)])
    found = finding(result, "all scored")
    assert found.verdict == "contradicted" and "40 of 1600" in found.evidence and "judge failed 40" in found.evidence
    assert result.tables["rates"][-1]["rate"]["n"] == 360


def test_an_unknown_alpha_lists_the_recorded_ones() -> None:
    with pytest.raises(InputError, match="recorded are 0, 1, 2, 3"):
        build_panels(planted(0.0))["chosen"].at(5.0)


def test_subtracting_controls_pairs_items_and_alphas() -> None:
    own = Panel("a", ("x", "y"), (0.0, 1.0, 2.0), np.array([[0, 1, 1], [1, 1, 0]], dtype=float))
    other = Panel("b", ("y", "x", "z"), (1.0, 2.0), np.array([[1, 1], [0, 1], [0, 0]], dtype=float))
    gap = subtract(own, [other])
    assert gap.ids == ("x", "y") and gap.alphas == (1.0, 2.0)
    np.testing.assert_array_equal(gap.values, [[1, 0], [0, -1]])


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), min_size=1, max_size=30))
def test_populations_agree_with_a_naive_count(paths: list[list[float]]) -> None:
    counts = count_populations(Panel("c", tuple(map(str, range(len(paths)))), ALPHAS, np.array(paths)))
    naive = {"always": 0, "never": 0, "up": 0, "down": 0, "non_monotone": 0}
    for path in paths:
        turns = [(a, b) for a, b in itertools.pairwise(path) if a != b]
        kind = "always" if not turns and path[0] else "never" if not turns else ""
        naive[kind or ("up" if turns == [(0.0, 1.0)] else "down" if turns == [(1.0, 0.0)] else "non_monotone")] += 1
    assert {name: getattr(counts, name) for name in naive} == naive
    assert sum(counts.first_switch.values()) == counts.swing and counts.frozen + counts.swing == len(paths)


def test_frozen_items_and_other_items_are_found() -> None:
    run = planted(0.01)
    other = planted(0.01, n=50, seed=5)
    result = audit_populations([run, make_run("small", run.settings, [r.to_row() for r in other.records])])
    assert finding(result, "same items").verdict == "contradicted"
    assert all(f.verdict == "contradicted" for f in result.findings if "is broad" in f.claim)


def test_multiple_choice_scores_are_those_of_the_definition() -> None:
    scores = multiple_choice_scores([-1.0, -2.0, -1.5], [0, 1, 1])
    mass = np.exp([-1.0, -2.0, -1.5])
    assert scores.mc1 == 0.0 and scores.mc2 == pytest.approx((mass[1] + mass[2]) / mass.sum())
    assert multiple_choice_scores([-1.0, -1.0], [1, 0]).tied and not multiple_choice_scores([-1.0, -1.0], [1, 1]).tied
    assert multiple_choice_scores([-900.0, -950.0], [1, 0]).mc2 == pytest.approx(1.0)


def test_silence_is_not_precision() -> None:
    """Withholding only wrong answers raises precision; the audit still says where the attempts went."""
    rows = []
    for i in range(60):
        before = "CORRECT" if i < 20 else "INCORRECT"
        after = before if i < 40 else "NOT_ATTEMPTED"
        rows += [
            {"id": str(i), "condition": "steer", "alpha": a, "grade": g, "response": f"{i}", "outcome": g == "CORRECT"}
            for a, g in ((0.0, before), (8.0, after))
        ]
    run = make_run("grades", RunSettings("toy", no_op=0.0, scaling="additive"), rows)
    result = audit_side_effects([run])
    found = finding(result, "leaves attempts and correct answers alone")
    assert found.verdict == "contradicted"
    assert "Of 20 attempts withheld 0 had been correct and 20 incorrect" in found.evidence
    assert finding(result, "always gets the same grade").verdict == "contradicted"


def test_runs_an_audit_cannot_use_give_one_untestable_claim() -> None:
    run = make_run("labels", RunSettings("toy", kind="candidates"), [{"name": "C=1", "score": 0.7}])
    for audit in (audit_effect, audit_populations, audit_side_effects):
        (found,) = audit([run]).findings
        assert found.verdict == "not testable" and "labels" in found.run


def test_twenty_items_that_are_all_alike_leave_a_difference_open() -> None:
    rows = [{"id": str(i), "condition": "chosen", "alpha": a, "outcome": 0.0} for i in range(20) for a in ALPHAS]
    panel = build_panels(make_run("same", RunSettings("toy"), rows))["chosen"]
    open_ = wilson(0, 20).high
    for estimate in (panel.difference(0, 3), panel.grouped_difference(0, 3) or panel.difference(0, 1)):
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.0, -open_, open_))
    assert panel.slope().low < 0 < panel.slope().high
    assert panel.rate(1).high == pytest.approx(open_)
