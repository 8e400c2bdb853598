"""The audit report and the command line."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from hneurons.answers.judges.known_error import describe_error
from hneurons.audits import AUDITS, load_run, make_run, save_run
from hneurons.audits.results import Figure, Series
from hneurons.cli.audit import audit, import_records
from hneurons.core.artifacts import RowStore
from hneurons.core.errors import InputError
from hneurons.records.record import Condition, Record, RunSettings
from hneurons.report.audit_report import AuditReport, audit_runs, draw_figure, render_report

app = Typer()
app.command("audit")(audit)
app.command("import")(import_records)
MAP = {
    "settings": {"benchmark": "toy", "outcome": "compliance <b>"},
    "conditions": {"n": "selected", "random*": "random"},
}


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = ["id,condition,alpha,outcome,response"]
    rows += [
        f"{i},{c},{a},{int(i < 40 + (10 * a if c == 'n' else 0))},<script>alert({i})</script>"
        for i in range(100) for c in ("n", "random0") for a in (0, 1, 3)
    ]  # fmt: skip
    (tmp_path / "rows.csv").write_text("\n".join([*rows, "7,n,zero,1,", "8,n,,1,"]) + "\n")
    (tmp_path / "map.json").write_text(json.dumps(MAP))
    result = call("import", tmp_path / "rows.csv", "--map", tmp_path / "map.json", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "row 601, column 'alpha': 'zero' cannot be read as a number" in result.output
    return tmp_path / "run"


def test_foreign_records_go_from_csv_to_an_audit(run: Path) -> None:
    result = call("audit", "effect", run)
    assert result.exit_code == 0, result.output
    assert "headline claims: 0 contradicted; 0 not shown; 0 not testable; 2 supported" in result.output
    assert "SUPPORTED (headline): Compliance <b> rises with n: amplification (alpha 1 to 3)" in result.output
    assert "MALFORMED run: row 602, column 'alpha': is missing" in result.output
    numbers = json.loads(call("audit", "populations", run, "--json").stdout)
    assert numbers["audits"][0]["audit"] == "populations" and numbers["runs"][0]["malformed"] == 2


@pytest.mark.slow
def test_the_report_stands_alone_and_says_the_same_as_its_json(run: Path, tmp_path: Path) -> None:
    result = call("audit", "report", run, "--out", tmp_path / "audit.html")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "audit.html").read_text()
    stored = json.loads((tmp_path / "audit.json").read_text())
    assert not re.search(r"(?:src|href)=[\"'](?!#)", re.sub(r"xlink:href=\"#[^\"]*\"", "", page))
    assert "<script" not in page and "compliance <b>" not in page
    assert page.count('class="claim"') == sum(stored["verdicts"].values())
    assert "row 601, column" in page and "<svg" in page
    for audited in stored["audits"]:
        assert audited["audit"] in AUDITS
        for found in audited["findings"]:
            assert found["claim"] and found["evidence"] and found["verdict"] in stored["verdicts"]
    assert "NaN" not in (tmp_path / "audit.json").read_text()


@pytest.mark.slow
def test_the_report_says_first_how_its_headline_claims_stand_and_lists_only_what_does_not_hold(run: Path) -> None:
    report = audit_runs([load_run(run)])
    page = render_report(report)
    assert '<p class="verdict">Of 2 headline claims, 2 are supported.</p>' in page
    index = page[page.index('id="index"') : page.index('<h2 class="audit"')]
    failed = {f.run for r in report.results for f in r.findings if f.verdict != "supported"}
    assert set(re.findall(r"<summary><b>([^<]*)</b>", index)) == failed
    assert not re.search(r"\b0 (?:contradicted|not)", index)
    alone = audit_runs([load_run(run)], names=["effect"])
    alone = AuditReport(alone.runs, tuple(replace(r, findings=r.findings[:2]) for r in alone.results))
    assert not re.search(r"<details", render_report(alone).partition('<h2 class="audit"')[0])


@pytest.mark.slow
def test_the_report_is_the_same_bytes_every_time(run: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        assert call("audit", "report", run, "--out", tmp_path / name).exit_code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "guess", "RUN"], "unknown audit 'guess': known are effect"),
        (["audit", "effect"], "needs at least one run"),
        (["audit", "report", "RUN"], "needs --out FILE.html"),
        (["audit", "report", "RUN", "--out", "a.txt"], "give an HTML file"),
        (["audit", "report", "RUN", "--out", "RUN/rows.jsonl/a.html"], "is a file, so"),
        (["audit", "report", "RUN", "--out", "RUN/folder.html"], "is a folder: give a file in it"),
        (["audit", "effect", "nowhere"], "is no hneurons result"),
        (["import", "nowhere.csv", "--map", "m.json", "--out", "RUN"], "exists already: choose another --out"),
        (["import", "nowhere.csv", "--map", "m.json", "--out", "o"], "there is no file m.json"),
    ],
)
def test_bad_arguments_give_one_sentence(run: Path, words: list[str], said: str) -> None:
    (run / "folder.html").mkdir()
    result = call(*[word.replace("RUN", str(run)) for word in words])
    assert isinstance(result.exception, InputError) and said in str(result.exception)


def test_list_names_every_audit_with_its_purpose() -> None:
    lines = call("audit", "list").output.strip().split("\n")
    assert [line.split()[0] for line in lines] == list(AUDITS)
    assert len(lines) == 9 and all(len(line.split()) > 3 for line in lines)


def test_audits_that_do_not_apply_are_left_out_of_the_report(tmp_path: Path) -> None:
    rows = [{"id": str(i), "condition": "c", "alpha": a, "outcome": i % 2} for i in range(30) for a in (1.0, 3.0)]
    run = make_run("plain", RunSettings("toy", conditions={"c": Condition("selected")}), rows)
    save_run(run, tmp_path / "plain")
    report = audit_runs([run])
    assert {result.audit for result in report.results} <= {"effect", "populations", "side_effects", "leakage"}
    assert "geometry" not in render_report(report)


def test_the_judges_known_error_is_in_the_audit_of_a_run_it_judged(tmp_path: Path) -> None:
    settings = RunSettings("facts", conditions={"n": Condition()})
    rows = [Record(f"q{i}", "n", alpha, outcome=float(i % 2)).to_row() for i in range(20) for alpha in (0.0, 1.0)]
    told = {
        "known": {"judge": "alias", "known_error": describe_error("alias")},
        "older": {"judge": "alias"},
        "rule": {},
    }
    for name, summary in told.items():
        store = RowStore(tmp_path / name, stage="run", settings=settings.to_row(), inputs={}, expected=1)
        store.commit(rows)
        store.finish(summary)
    folders = [tmp_path / name for name in told]
    assert call("audit", "report", *folders, "--out", tmp_path / "audit.html").exit_code == 0
    page = html.unescape((tmp_path / "audit.html").read_text())
    assert f"known: {describe_error('alias')}" in page and "older: The error of the judge 'alias' was not recor" in page
    assert "rule: The error" not in page
    stored = json.loads((tmp_path / "audit.json").read_text())["runs"]
    assert [bool(run["known_error"]) for run in stored] == [True, True, False]
    assert describe_error("alias") in call("audit", "effect", folders[0]).stdout


def test_a_bar_stands_over_its_own_value_however_far_the_values_lie_apart() -> None:
    bars = Series("items", (0.0, 1.0, 3.0), (5.0, 2.0, 7.0))
    text = draw_figure(Figure("first switch", "alpha", "items", (bars,), "bars"))
    labels = re.findall(r">([-\d.]+)</text>", text)
    assert labels[:3] == ["0", "1", "3"] and "0.5" not in labels
