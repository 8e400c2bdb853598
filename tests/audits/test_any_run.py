"""No run, however poor, makes an audit fall over: it says what it can and counts the rest."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hneurons.audits import AUDITS, make_run
from hneurons.records.record import Condition, RunSettings
from hneurons.records.rows import ROW_KINDS
from hneurons.report.audit_report import AuditReport, audit_runs

SOME = st.one_of(st.none(), st.integers(-2, 3), st.floats(allow_nan=True), st.text(max_size=3), st.booleans())


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


RECORDS = st.builds(
    lambda ours, rest: {**rest, **ours},
    st.fixed_dictionaries(
        {
            "id": st.sampled_from("abcd"),
            "condition": st.sampled_from(["chosen", "random0"]),
            "alpha": st.sampled_from([0.0, 1.0, 3.0]),
        }
    ),
    optional(
        outcome=st.sampled_from([0, 1, None, 0.4]), choice=st.sampled_from(["A", "", "2", None]),
        key=st.sampled_from(["A", "B"]), response=st.sampled_from(["A", "", "text", "2) x"]),
        choices=st.sampled_from([{"A": "text", "B": "y"}, {"1": "x"}]), aliases=st.sampled_from([["x"], [""], []]),
        chars=st.integers(0, 40), n_tokens=st.integers(0, 9), finish_reason=st.sampled_from(["stop", "length"]),
        judge=st.sampled_from(["YES", "NO"]), grade=st.sampled_from(["CORRECT", "INCORRECT", "NOT_ATTEMPTED"]),
        attempted=st.booleans(), loglik=st.lists(st.floats(-9, 0), max_size=3),
        true_options=st.sampled_from([[1, 0], []]),
        rubric=optional(C=SOME, S=SOME, V=SOME, outcome=st.sampled_from(["yes", "borderline"])),
        spans=st.lists(st.tuples(SOME, SOME, st.integers(0, 1)).map(list), max_size=2),
        group=st.sampled_from("pq"), error=st.just("judge"),
    ),
)  # fmt: skip
ANY = {name: optional(**dict.fromkeys(kind.__slots__, SOME)) for name, kind in ROW_KINDS.items() if name != "outcomes"}
CONDITIONS = {"chosen": Condition("selected"), "random0": Condition("random")}


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(RECORDS, min_size=1, max_size=16), st.sampled_from([(1.0, "multiplicative"), (0.0, "additive")]))
def test_every_audit_answers_on_any_records(rows: list[dict[str, Any]], scaling: tuple[float, Any]) -> None:
    run = make_run("run", RunSettings("toy", no_op=scaling[0], scaling=scaling[1], conditions=CONDITIONS), rows)
    assert len(run.rows) + run.n_problems == len(rows)
    report = audit_runs([run], names=list(AUDITS))
    assert all(result.findings and result.n_problems == run.n_problems for result in report.results)
    report.to_json()
    _check_numbers(report)


_NO_WIDTH = re.compile(r"\[([-+]?\d[\d.]*), \1\]")
_NEGATIVE_ZERO = re.compile(r"-0(?:\.0+)?(?![\d.])")


def _check_numbers(report: AuditReport) -> None:
    """No interval without width is shown as certainty, and no zero has a sign of minus."""
    for result in report.results:
        for found in result.findings:
            assert not _NO_WIDTH.search(found.evidence), found.evidence
            assert not _NEGATIVE_ZERO.search(found.evidence), found.evidence
            assert found.verdict in ("supported", "not shown", "contradicted", "not testable")


@pytest.mark.parametrize("kind", sorted(ANY))
@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_audit_answers_on_any_other_rows(kind: str, data: st.DataObject) -> None:
    rows = data.draw(st.lists(ANY[kind], max_size=6))
    run = make_run("run", RunSettings("toy", kind=kind), rows)
    report = audit_runs([run], names=list(AUDITS))
    report.to_json()
    _check_numbers(report)
