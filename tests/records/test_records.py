"""Reading, importing and writing recorded runs."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from hneurons.audits import Mapping, import_run, load_run, make_run, save_run
from hneurons.core import foreign_text
from hneurons.core.errors import InputError
from hneurons.records.record import Condition, Record, RunSettings
from hneurons.records.rows import FieldError, Prediction, read_row

SETTINGS = RunSettings("toy", conditions={"a": Condition("selected"), "b": Condition("random")}, max_tokens=8)
ROWS = [
    {"id": "1", "condition": "a", "alpha": 0.0, "outcome": 1},
    {"id": "1", "condition": "a", "alpha": 3.0, "outcome": None, "error": "judge"},
    {"id": "2", "condition": "b", "alpha": 3.0, "choice": "", "key": "B", "spans": [[0, 4, 1], [None, 9, 0]]},
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_run_loads_as_it_was_saved(tmp_path: Path) -> None:
    run = make_run("run", SETTINGS, ROWS)
    save_run(run, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert loaded.rows == run.rows and loaded.settings == run.settings
    save_run(loaded, tmp_path / "again")
    assert (tmp_path / "again" / "rows.jsonl").read_bytes() == (tmp_path / "run" / "rows.jsonl").read_bytes()


def test_malformed_rows_are_named_by_row_and_column_and_the_rest_is_kept(tmp_path: Path) -> None:
    bad = [
        {"id": "3", "condition": "a", "alpha": "high", "outcome": 1},
        {"id": "4", "condition": "a", "outcome": 1},
        {"id": "5", "condition": "a", "alpha": 1.0, "outcome": 7},
        {"id": "1", "condition": "a", "alpha": 0.0, "outcome": 0},
        "{not json",
    ]
    source = write(tmp_path / "rows.jsonl", [*ROWS, *bad])
    run = import_run(source, Mapping({"benchmark": "toy"}))
    assert len(run.rows) == 3 and run.n_problems == 5
    said = [str(problem) for problem in run.problems]
    assert said[0] == "row 4, column 'alpha': 'high' cannot be read as a number"
    assert said[1] == "row 5, column 'alpha': is missing"
    assert said[2] == "row 6, column 'outcome': '7' is not between 0 and 1"
    assert said[3] == "row 7, column 'id': '1' at alpha 0.0 repeats row 1"
    assert said[4].startswith("row 8, column 'id': is missing")
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run").n_problems == 5


@pytest.mark.parametrize("value", ["nan", "inf", [1], "x"])
def test_a_probability_that_is_no_number_names_its_column(value: Any) -> None:
    with pytest.raises(FieldError, match="column 'probability'"):
        read_row(Prediction, {"id": "1", "label": 1, "probability": value})


def test_one_column_per_alpha_becomes_one_row_per_alpha(tmp_path: Path) -> None:
    source = tmp_path / "wide.csv.gz"
    with gzip.open(source, "wt") as file:
        file.write("item,key,low,high\nx,A,A,\ny,B,A,NA\n")
    mapping = Mapping(
        {"benchmark": "toy"},
        columns={"id": "item"},
        constants={"condition": "c"},
        melt={"columns": {"low": 1.0, "high": 2.0}, "into": ["alpha", "choice"], "absent": "NA"},
        outcome_from="choice_is_key",
    )
    rows = import_run(source, mapping).records
    assert [(r.id, r.alpha, r.choice, r.outcome) for r in rows] == [
        ("x", 1.0, "A", 1.0), ("x", 2.0, "", 0.0), ("y", 1.0, "A", 0.0),
    ]  # fmt: skip


def test_a_second_file_templates_and_filters_shape_the_rows(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"run": r, "id": "1_t2", "alpha": 0, "judge": "YES"} for r in ("p", "q")])
    items = tmp_path / "runs.csv"
    items.write_text("run,family,k\np,truth,8\nq,random,8\n")
    mapping = Mapping(
        {"benchmark": "toy", "no_op": 0.0, "scaling": "additive"},
        columns={"condition": "{family}-k{k}", "outcome": "judge"},
        values={"outcome": {"YES": 1}},
        extract={"group": ["id", "^(.*)_t"]},
        where={"run": ["q"]},
        join="run",
        conditions={"random*": "random@heads"},
    )
    run = import_run(source, mapping, items=items)
    assert [(r.condition, r.outcome, r.group) for r in run.records] == [("random-k8", 1.0, "1")]
    assert run.condition("random-k8") == Condition("random", "heads") and run.settings.ablation is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ('{"columns": {}}', "no 'settings'"),
        ('{"settings": {}, "colums": {}}', "unknown entries"),
        ('{"settings": {}, "outcome_from": "guess"}', "known are"),
    ],
)
def test_a_bad_mapping_gives_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        Mapping.load(path)


def test_sources_that_cannot_be_read_give_one_sentence(tmp_path: Path) -> None:
    mapping = Mapping({"benchmark": "toy"})
    with pytest.raises(InputError, match="there is no file"):
        import_run(tmp_path / "none.csv", mapping)
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"ends in \.jsonl"):
        import_run(tmp_path / "rows.xlsx", mapping)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"id,alpha\n" * 1000, mtime=0)[:30])
    with pytest.raises(InputError, match="cannot be read"):
        import_run(tmp_path / "cut.csv.gz", mapping)
    (tmp_path / "rows.csv").write_text("id,condition,alpha\n1,a,0\n")
    with pytest.raises(InputError, match="unknown kind of rows 'tables'"):
        import_run(tmp_path / "rows.csv", Mapping({"benchmark": "toy", "kind": "tables"}))
    with pytest.raises(InputError, match="settings do not fit"):
        import_run(tmp_path / "rows.csv", Mapping({"benchmrk": "toy"}))


TOY = {"benchmark": "toy"}
TABLE = "id,condition,alpha,outcome\n1,a,0,1\n2,a,1,0\n"


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"settings": 3}, "'settings' should be an object"),
        ({"settings": None}, "'settings' should be an object"),
        ({"settings": TOY, "where": {"id": 3}}, "'where.id' should be a list"),
        ({"settings": TOY, "where": {"id": "abc"}}, "'where.id' should be a list"),
        ({"settings": TOY, "where": {"id": [[1]]}}, "where.id"),
        ({"settings": TOY, "where": [1, 2]}, "'where' should be an object"),
        ({"settings": TOY, "columns": {"id": 3}}, "'columns.id' should be"),
        ({"settings": TOY, "columns": {"id": ["a"]}}, "'columns.id' should be"),
        ({"settings": TOY, "extract": {"group": ["id", "("]}}, "the pattern of 'group' is no regular expression"),
        ({"settings": TOY, "extract": {"group": ["id", "a.*"]}}, "the pattern of 'group' has no group"),
        ({"settings": TOY, "extract": {"group": ["id"]}}, "'extract.group' should be a list of 2"),
        ({"settings": TOY, "extract": {"group": "id"}}, "'extract.group' should be a list"),
        ({"settings": TOY, "melt": {"columns": {}}}, "'melt' does not fit: 'into' is missing"),
        ({"settings": TOY, "melt": {"columns": {}, "into": ["a"]}}, "'into' should be a list of 2"),
        ({"settings": TOY, "melt": {"columns": [], "into": ["a", "b"]}}, "'columns' should be an object"),
        ({"settings": TOY, "values": {"outcome": ["YES"]}}, "'values.outcome' should be an object"),
        ({"settings": TOY, "join": 3}, "'join' should be text"),
        ({"settings": TOY, "conditions": {"a*": 1}}, "'conditions.a*' should be text".replace("*", r"\*")),
        ([], "no column mapping"),
        ({"settings": {**TOY, "no_op": "one"}}, "'no_op' should be a number"),
        ({"settings": {**TOY, "no_op": math.nan}}, "'no_op' is a number"),
        ({"settings": {**TOY, "max_tokens": 1.5}}, "'max_tokens' should be a whole number"),
        ({"settings": {**TOY, "scaling": "up"}}, "'scaling' should be one of"),
        ({"settings": {**TOY, "conditions": {}}}, "stands outside of the settings"),
        ({"settings": {"benchmark": None}}, "'benchmark' should be text"),
        ({"settings": TOY, "columns": {"condition": "{family}-k{id}"}}, "names the column 'family'"),
        ({"settings": TOY, "extract": {"group": ["goal", "(a)"]}}, "names the column 'goal'"),
        ({"settings": TOY, "where": {"split": ["test"]}}, "names the column 'split'"),
        ({"settings": TOY, "columns": {"group": "{id.__class__.__mro__}"}}, "names the column 'id.__class__"),
        ({"settings": TOY, "columns": {"group": "{id[0]}"}}, "names the column 'id.0.'"),
        ({"settings": TOY, "columns": {"group": "{id!r:>99999999}"}}, "names the column 'id!r"),
    ],
)
def test_a_mapping_that_does_not_fit_is_one_sentence(tmp_path: Path, mapping: Any, said: str) -> None:
    (tmp_path / "map.json").write_text(json.dumps(mapping))
    (tmp_path / "rows.csv").write_text(TABLE)
    with pytest.raises(InputError, match=said) as caught:
        import_run(tmp_path / "rows.csv", Mapping.load(tmp_path / "map.json"))
    assert "\n" not in str(caught.value)


def test_a_column_that_no_row_has_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "rows.csv").write_text(TABLE)
    mapping = Mapping(TOY, columns={"group": "grp", "rubric": {"harm": "harm_score"}, "outcome": "outcome"})
    assert len(import_run(tmp_path / "rows.csv", mapping).records) == 2
    assert "has no column grp, harm_score: what the mapping takes from there is missing" in caplog.text


def test_a_template_holds_the_text_of_cells_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "alpha": 0, "a.b": {"x": 1}, "c": null, "{": 5}\n')
    mapping = Mapping(TOY, columns={"condition": "{a.b}/{c}/{{"}, constants={"outcome": 1})
    (record,) = import_run(tmp_path / "rows.jsonl", mapping).records
    assert record.condition == "{'x': 1}//{{"


@pytest.mark.slow
def test_a_pattern_that_would_run_for_ever_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(TABLE + "a" * 60 + "!,a,2,1\n")
    mapping = Mapping(TOY, extract={"group": ("id", r"^((a|a|aa)+)+$")})
    with pytest.raises(InputError, match="the pattern of 'group' takes too long on a cell of 'id'"):
        import_run(tmp_path / "rows.csv", mapping)


def test_numbers_and_words_are_kept_alike_by_where(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(TABLE)
    assert len(import_run(tmp_path / "rows.csv", Mapping(TOY, where={"id": (1, "3")})).records) == 1


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_of_any_make_are_read(tmp_path: Path, mark: bytes, delimiter: str) -> None:
    long = "x" * 200_000
    text = (
        delimiter.join(["id", "condition", "alpha", "response"]) + "\r\n" + delimiter.join(["1", "a", "0", f'"{long}"'])
    )
    (tmp_path / "rows.csv").write_bytes(mark + text.encode())
    (record,) = import_run(tmp_path / "rows.csv", Mapping(TOY)).records
    assert (record.id, record.response) == ("1", long)
    (tmp_path / "rows.csv").write_bytes(text.encode("utf-16"))
    assert len(import_run(tmp_path / "rows.csv", Mapping(TOY)).records) == 1


def test_odd_lines_are_named_and_the_others_kept(tmp_path: Path) -> None:
    good = '{"id": "1", "condition": "a", "alpha": 0, "response": "half \\ud800 a character"}'
    odd = ["[" * 100_000, "3", "null", "{", '{"id": "2", "condition": "a", "alpha": 1e400}',
           '{"id": "3", "condition": "a", "alpha": 1' + "0" * 400 + "}", '{"id": "4", "condition": "a", "alpha": NaN}',
           '{"id": "5", "condition": "a", "alpha": 1, "aliases": "' + "[" * 100_000 + '"}',
           '{"id": "6", "condition": "a", "alpha": 1, "loglik": ["x"], "true_options": ["y"]}']  # fmt: skip
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join([good, *odd]).encode())
    for rule in ("", "mc1", "choice_is_key"):
        run = import_run(tmp_path / "rows.jsonl", Mapping(TOY, outcome_from=rule))
        assert len(run.records) == 1 and [p.row for p in run.problems] == list(range(2, 11))
        assert run.records[0].response == "half \ufffd a character"
        save_run(run, tmp_path / f"out{rule}")
        assert load_run(tmp_path / f"out{rule}").records == run.records


def test_a_row_of_more_cells_than_the_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(TABLE + "3,a,0,1,9\n")
    run = import_run(tmp_path / "rows.csv", Mapping(TOY))
    assert len(run.records) == 2 and run.problems[0].row == 3


def flip(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 255]) + data[41:]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("rows.csv.gz", flip(gzip.compress(TABLE.encode() * 50, mtime=0)), "cannot be read"),
        ("rows.jsonl.gz", b"no gzip", "cannot be read"),
        ("rows.csv", b"id,alpha\n\xff\xfe\xfa,1\n", "cannot be read"),
        ("rows.json", b"[" * 100_000, "nested too deep"),
        ("rows.json", b"3", "holds no list of rows"),
        ("rows.json", b"null", "holds no list of rows"),
        ("rows.json", b'{"id": [1, 2], "alpha": [0]}', "no columns of one length"),
    ],
)
def test_damaged_sources_are_one_sentence(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=said):
        import_run(tmp_path / name, Mapping(TOY))


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_text, "MAX_BYTES", 1 << 20)
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"id,alpha\n" + b"1,0\n" * 1_000_000, mtime=0))
    with pytest.raises(InputError, match="split it into smaller files"):
        import_run(tmp_path / "rows.csv.gz", Mapping(TOY))


def test_items_are_joined_by_a_column_that_both_have_and_that_tells_them_apart(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(TABLE)
    (tmp_path / "items.csv").write_text("id,key\n1,A\n1,B\n")
    with pytest.raises(InputError, match="has no 'join'"):
        import_run(tmp_path / "rows.csv", Mapping(TOY), items=tmp_path / "items.csv")
    with pytest.raises(InputError, match="has no column 'alpha'"):
        import_run(tmp_path / "rows.csv", Mapping(TOY, join="alpha"), items=tmp_path / "items.csv")
    with pytest.raises(InputError, match="says different things about '1'"):
        import_run(tmp_path / "rows.csv", Mapping(TOY, join="id"), items=tmp_path / "items.csv")


def test_a_record_row_holds_only_what_is_known() -> None:
    assert Record("1", "a", 0.0, outcome=0.0).to_row() == {"id": "1", "condition": "a", "alpha": 0.0, "outcome": 0.0}
