"""Reading, importing and writing recorded runs."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hneurons.audits import Mapping, import_run, load_run, make_run, save_run
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
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"must end in \.csv"):
        import_run(tmp_path / "rows.parquet", mapping)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"id,alpha\n" * 1000)[:30])
    with pytest.raises(InputError, match="cannot be read"):
        import_run(tmp_path / "cut.csv.gz", mapping)
    (tmp_path / "rows.csv").write_text("id,condition,alpha\n1,a,0\n")
    with pytest.raises(InputError, match="unknown kind of rows 'tables'"):
        import_run(tmp_path / "rows.csv", Mapping({"benchmark": "toy", "kind": "tables"}))
    with pytest.raises(InputError, match="settings do not fit"):
        import_run(tmp_path / "rows.csv", Mapping({"benchmrk": "toy"}))


def test_a_record_row_holds_only_what_is_known() -> None:
    assert Record("1", "a", 0.0, outcome=0.0).to_row() == {"id": "1", "condition": "a", "alpha": 0.0, "outcome": 0.0}
