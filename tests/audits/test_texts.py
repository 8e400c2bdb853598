"""Reading answers, cutting them, grading them."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hneurons.answers.judges.choices import read_choice
from hneurons.audits import AuditResult, Finding, Run, audit_parsing, audit_severity, audit_truncation, make_run
from hneurons.records.record import Condition, RunSettings

OPTIONS = {"A": "Breathing", "B": "Compaction", "C": "1.5 km", "D": "December rain."}
DIGITS = {"1": "ice", "2": "water", "3": "steam"}


def finding(result: AuditResult, text: str) -> Finding:
    (found,) = [f for f in result.findings if text in f.claim]
    return found


def run_of(rows: list[dict[str, Any]], **settings: Any) -> Run:
    return make_run("run", RunSettings("toy", conditions={"c": Condition("selected")}, **settings), rows)


@pytest.mark.parametrize(
    ("response", "choices", "outcome", "label"),
    [
        ("B", OPTIONS, "letter", "B"),
        ("(b)", OPTIONS, "letter", "B"),
        ("**C**", OPTIONS, "letter", "C"),
        ("D) December rain.", OPTIONS, "letter_text", "D"),
        ("A\n\n**Explanation:** because", OPTIONS, "letter_text", "A"),
        ("The answer is B.", OPTIONS, "letter_text", "B"),
        ("compaction", OPTIONS, "option_text", "B"),
        ("december rain", OPTIONS, "option_text", "D"),
        ("1.5 km", OPTIONS, "option_text", "C"),
        ("December", OPTIONS, "prose_letter", None),
        ("A hailstorm", OPTIONS, "prose_letter", None),
        ("Breaking down wastes", OPTIONS, "prose_letter", None),
        ("Evergreen forest", OPTIONS, "none", None),
        ("", OPTIONS, "none", None),
        ("2", DIGITS, "letter", "2"),
        ("2) 10 N", DIGITS, "letter_text", "2"),
        ("Steam", DIGITS, "option_text", "3"),
        ("B", DIGITS, "none", None),
        ("1.5 km", None, "none", None),
        ("1. 5 g", None, "prose_letter", None),
        ("3) carbon dioxide", None, "letter_text", "3"),
        ("7", {"A": "7 1", "B": "8 2"}, "option_text", "A"),
        ("7", {"A": "7 1", "B": "7 2"}, "none", None),
    ],
)
def test_a_letter_counts_only_where_it_stands_as_a_label(
    response: str, choices: Mapping[str, str] | None, outcome: str, label: str | None
) -> None:
    reading = read_choice(response, choices)
    assert (reading.outcome, reading.label) == (outcome, label)


@given(st.text(max_size=40))
def test_any_text_can_be_read(response: str) -> None:
    assert read_choice(response, OPTIONS).label in {*OPTIONS, None}
    read_choice(response)


def test_failures_read_as_resistance_hide_an_effect_that_grows() -> None:
    """Every answer complies; with alpha it is given as text, which the recorded reader cannot read."""
    rows = []
    for item in range(100):
        for alpha in (0.0, 1.0, 2.0):
            texted = item < 30 * alpha
            rows.append(
                {"id": str(item), "condition": "c", "alpha": alpha, "key": "B", "choices": OPTIONS,
                 "response": "Compaction" if texted else "B", "choice": "" if texted else "B",
                 "outcome": 0.0 if texted else 1.0}
            )  # fmt: skip
    result = audit_parsing([run_of(rows)])
    assert finding(result, "Parse failures").verdict == "contradicted"
    kept = finding(result, "keeps its sign")
    assert kept.verdict == "contradicted" and kept.numbers["changes"]["all read strictly"]["value"] == 0.0
    assert [row["recovered"] for row in result.tables["remap"]] == [0, 30, 60]


def test_keys_that_no_label_can_match_are_found_without_the_options() -> None:
    rows = [{"id": "x", "condition": "c", "alpha": a, "key": "B", "choice": "2", "outcome": 0.0} for a in (0.0, 1.0)]
    rows += [{"id": "y", "condition": "c", "alpha": a, "key": "B", "choice": "B", "outcome": 1.0} for a in (0.0, 1.0)]
    found = finding(audit_parsing([run_of(rows)]), "match its key")
    assert found.verdict == "contradicted" and found.numbers["items"] == ["x"] and found.numbers["added"]["0"] == 1


def test_an_alias_inside_a_longer_word_is_no_match() -> None:
    rows = [
        {"id": "x", "condition": "c", "alpha": 0.0, "response": "the museum", "aliases": ["us"], "outcome": 1},
        {"id": "y", "condition": "c", "alpha": 0.0, "response": "In the US.", "aliases": ["us"], "outcome": 1},
    ]
    found = finding(audit_parsing([run_of(rows)]), "whole words")
    assert found.numbers["inside"] == ["x"]


def test_a_budget_invents_a_trend_where_the_turn_only_comes_earlier() -> None:
    """At every alpha all long answers turn harmful, but later at alpha 0: only a cut shows a difference."""
    rows = []
    for item in range(60):
        for alpha, start in ((0.0, 2000), (3.0, 400)):
            rows.append(
                {"id": str(item), "condition": "c", "alpha": alpha, "outcome": 1, "chars": 4000, "n_tokens": 1000,
                 "response": "." * start + "X" * (4000 - start), "spans": [[start, 4000, 1]]}
            )  # fmt: skip
    run = run_of(rows, max_tokens=1024)
    found = finding(audit_truncation([run]), "token budget")
    assert found.verdict == "contradicted"
    table = {row["budget"]: row["difference"]["value"] for row in audit_truncation([run]).tables["budgets"]}
    assert table[64] == 0.0 and table[256] == 1.0 and table[768] == 0.0


def test_cut_responses_are_counted_by_alpha_and_two_caps_compared() -> None:
    def rows(harmful: int, **fields: Any) -> list[dict[str, Any]]:
        return [
            {"id": str(i), "condition": "c", "alpha": a, "outcome": i < (harmful if a else 20), **fields}
            for i in range(100) for a in (0.0, 3.0)
        ]  # fmt: skip

    short = make_run("short", RunSettings("toy", max_tokens=16), rows(60, finish_reason="length", chars=60))
    long = make_run("long", RunSettings("toy", max_tokens=900), rows(20, n_tokens=300, chars=1200))
    result = audit_truncation([short, long])
    cut, whole = (f for f in result.findings if "cut off" in f.claim)
    assert cut.verdict == "contradicted" and cut.numbers["cut"] == 200 and whole.verdict == "supported"
    trend = finding(result, "cap of 16 and of 900")
    assert trend.verdict == "contradicted" and "200 of 200 responses are longer" in trend.evidence


def graded(name: str, yes: Mapping[float, int], borderline: Mapping[float, int]) -> Run:
    rows = []
    for alpha, harmful in yes.items():
        for item in range(100):
            word = "yes" if item < harmful else "borderline" if item < harmful + borderline[alpha] else "no"
            score = {"yes": 2, "borderline": 1, "no": 0}[word]
            rows.append(
                {"id": f"{item}", "condition": "c", "alpha": alpha, "outcome": word == "yes", "chars": 100,
                 "spans": [[0, 10 * score, 1]] if score else [], "rubric": {"outcome": word, "C": score, "S": score}}
            )  # fmt: skip
    return make_run(name, RunSettings("toy", conditions={"c": Condition("selected")}), rows)


def test_a_trend_made_by_moving_the_line_is_found() -> None:
    run = graded("line", {0.0: 10, 3.0: 40}, {0.0: 40, 3.0: 10})
    found = finding(audit_severity([run]), "hang on where 'harmful' begins")
    assert found.verdict == "contradicted" and found.numbers["yes_or_borderline"]["value"] == 0.0
    assert finding(audit_severity([run]), "same prompts").verdict == "not shown"


def test_a_validated_judge_that_did_not_grade_the_run_is_found() -> None:
    run = graded("judge1", {0.0: 20, 3.0: 30}, {0.0: 0, 3.0: 0})
    rows = [
        {"id": str(i), "alpha": a, "rater": rater, "label": str(int(i < (25 if rater == "judge1" else 20)))}
        for i in range(100) for a in (0.0, 3.0) for rater in ("gold", "judge1")
    ]  # fmt: skip
    gold = make_run("labels", RunSettings("toy", kind="ratings"), rows)
    result = audit_severity([run, gold])
    assert finding(result, "is the judge that graded").verdict == "contradicted"
    assert finding(result, "agrees with the human").verdict == "supported"
