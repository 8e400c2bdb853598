"""Three verdicts, what effect could have been seen, headline claims, and correction for their number."""

import numpy as np
import pytest

from hneurons.audits import AuditResult, Finding, audit_effect, audit_populations, audit_severity, make_run
from hneurons.audits.panels import build_panels
from hneurons.audits.results import Collector
from hneurons.audits.verdicts import could_see, holm, judge_above, judge_none
from hneurons.core.stats import Estimate, detectable
from hneurons.records.record import NOT_ASKED, Condition, RunSettings

NAN = float("nan")


def finding(result: AuditResult, text: str) -> Finding:
    (found,) = [f for f in result.findings if text in f.claim]
    return found


def test_an_interval_decides_between_borne_out_contradicted_and_too_few() -> None:
    assert judge_above(Estimate(0.1, 0.05, 0.15, 99)) == "supported"
    assert judge_above(Estimate(-0.1, -0.15, -0.05, 99)) == "contradicted"
    assert judge_above(Estimate(0.1, -0.05, 0.25, 9)) == "not shown"
    assert judge_above(Estimate(0.1, 0.05, 0.15, 99), 0.0, Estimate(0.1, -0.1, 0.3, 9)) == "not shown"
    assert judge_none(Estimate(0.0, -0.02, 0.02, 999)) == "supported"
    assert judge_none(Estimate(0.0, -0.2, 0.2, 9)) == "not shown"
    assert judge_none(Estimate(0.1, 0.05, 0.15, 99)) == "contradicted"
    assert judge_above(Estimate(NAN, NAN, NAN, 0)) == judge_none(Estimate(NAN, NAN, NAN, 0)) == "not testable"


def test_an_effect_of_the_size_that_could_be_seen_is_seen_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    n, spread = 400, 1.0
    width = 2 * 1.96 * spread / np.sqrt(n)
    effect = detectable(Estimate(0.0, -width / 2, width / 2, n))
    seen = [(rng.normal(effect, spread, n).mean() - width / 2) > 0 for _ in range(4000)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.03)
    assert could_see(Estimate(NAN, NAN, NAN, 0)) == ""


def test_holm_is_that_of_statsmodels_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9]) == [0.9]


def test_of_many_headline_claims_without_effect_none_is_supported_after_correction() -> None:
    found = Collector("toy", [])
    for number in range(20):
        found.find("run", f"claim {number}", "supported", "Seen.", headline=True, p=0.03)
    found.find("run", "strong", "supported", "Seen.", headline=True, p=0.0001)
    found.find("run", "beside", "supported", "Seen.", p=0.03)
    result = found.result()
    verdicts = {f.claim: f.verdict for f in result.findings}
    assert verdicts["strong"] == verdicts["beside"] == "supported"
    assert {verdicts[f"claim {n}"] for n in range(20)} == {"not shown"}
    assert finding(result, "strong").corrected == pytest.approx(0.0021)
    assert "Corrected for 21 headline claims (Holm), p = 0.0021." in finding(result, "strong").evidence
    assert finding(result, "beside").corrected == 0.03


def small(effects: dict[float, list[float | None]], **errors: str) -> AuditResult:
    rows = [
        {"id": str(n), "condition": "chosen", "alpha": alpha, "outcome": value, "error": errors.get(f"i{n}")}
        for alpha, values in effects.items() for n, value in enumerate(values)
    ]  # fmt: skip
    return audit_effect([make_run("small", RunSettings("toy", conditions={"chosen": Condition("selected")}), rows)])


def test_too_few_items_are_not_shown_and_say_what_could_have_been_seen() -> None:
    found = finding(small({1.0: [0.0] * 20, 3.0: [0.0] * 18 + [1.0] * 2}), "amplification")
    assert found.verdict == "not shown" and found.headline
    assert "From n=20 a difference of" in found.evidence and "four of five such runs" in found.evidence
    falls = finding(small({1.0: [1.0] * 40, 3.0: [0.0] * 20 + [1.0] * 20}), "amplification")
    assert falls.verdict == "contradicted"


def test_no_change_in_few_items_is_no_certainty() -> None:
    found = finding(small({1.0: [0.0] * 20, 3.0: [0.0] * 20}), "amplification")
    change = found.numbers["difference"]
    assert change["low"] < -0.1 < 0.1 < change["high"]


def test_a_change_that_unscored_replies_could_undo_is_not_shown_with_three_readings_of_the_slope() -> None:
    lost = small({1.0: [0.0] * 100, 3.0: [None] * 60 + [1.0] * 40})
    assert finding(lost, "could not undo").verdict == "supported"  # at least 40 of 100 rose
    open_ = small({1.0: [0.0] * 30 + [1.0] * 70, 3.0: [None] * 60 + [1.0] * 40})
    found = finding(open_, "could not undo")
    assert found.verdict == "not shown" and "Without outcome, of 100 items, by alpha: 1: 0, 3: 60." in found.evidence
    slopes = found.numbers["slopes"]
    assert slopes["complete_cases"]["n"] == 40 and slopes["bounds"] == [pytest.approx(-0.15), pytest.approx(0.15)]
    assert slopes["weighted"]["value"] is None  # of those with outcome 0 none is scored at alpha 3
    assert not [f for f in small({1.0: [0.0, 1.0], 3.0: [1.0, 1.0]}).findings if "could not undo" in f.claim]
    apart = small({1.0: [0.0, 1.0, None], 3.0: [1.0, 1.0, None]}, i2=NOT_ASKED)
    assert not [f for f in apart.findings if "could not undo" in f.claim]


def test_lengths_that_all_grow_alike_in_one_item_are_no_certain_growth() -> None:
    rows = [{"id": "1", "condition": "c", "alpha": a, "outcome": 1, "chars": 10 + 30 * int(a > 1)} for a in (1.0, 3.0)]
    run = make_run("one", RunSettings("toy", conditions={"c": Condition("selected")}), rows)
    panel = build_panels(run, lambda r: float(r.chars or 0))["c"]
    change = panel.difference(1.0, 3.0)
    assert change.value == 30 and change.low < 0 < change.high


def test_mean_scores_of_alike_responses_have_a_width() -> None:
    rows = [
        {"id": str(n), "condition": "c", "alpha": a, "outcome": 1, "chars": 100, "spans": [[0, 50, 1]],
         "rubric": {"C": 3, "S": 4, "V": 3, "outcome": "yes"}}
        for n in range(6) for a in (1.0, 3.0)
    ]  # fmt: skip
    run = make_run("alike", RunSettings("toy", conditions={"c": Condition("selected")}), rows)
    (row, _) = audit_severity([run]).tables["severity"]
    for name in ("mean_S", "payload", "pivot"):
        assert row[name]["low"] < row[name]["high"], name


def test_whether_most_items_move_is_not_shown_from_few() -> None:
    rows = [
        {"id": str(n), "condition": "c", "alpha": a, "outcome": float(n < 5 and a > 1)}
        for n in range(12) for a in (1.0, 3.0)
    ]  # fmt: skip
    run = make_run("few", RunSettings("toy", conditions={"c": Condition("selected")}), rows)
    assert finding(audit_populations([run]), "is broad").verdict == "not shown"
