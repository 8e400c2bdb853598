"""Question sets of others: their rows become questions, or one sentence says what is wrong."""

import gzip
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from hneurons.answers.questions import QUESTIONS, load_questions, question_key
from hneurons.answers.questions.triviaqa import unquote_csv
from hneurons.core.errors import EndpointError, InputError, MissingExtraError, SchemaError
from hneurons.core.types import Question
from support.places import DATA

TRIVIA = {
    "question": "Who wrote Emma?",
    "question_id": "tc_1",
    "answer": {"value": "Jane Austen", "aliases": ["Austen", "Jane Austen"]},
}
NQ = {"question": "who wrote emma", "answer": ["Jane Austen", "Austen"]}
BIOASQ = {"id": "5be", "type": "factoid", "body": "Which gene is mutated?", "exact_answer": [["CFTR", "ABCC7"]]}
NEC = {"prompt": "What do Snaiporsea eat?", "label": 1, "category": "animals"}
OWN = {"question": "Who wrote Emma?", "answers": ["Jane Austen"]}
ROWS = {"triviaqa": TRIVIA, "nq-open": NQ, "bioasq": BIOASQ, "nec": NEC, "file": OWN}


def write_rows(path: Path, *rows: Any) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def own_rows(n: int) -> list[dict[str, Any]]:
    return [{"id": f"q{i}", "question": f"What is {i} plus {i}?", "answers": [str(2 * i)]} for i in range(n)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("triviaqa", Question("triviaqa:tc_1", "Who wrote Emma?", ("Jane Austen", "Austen"), "triviaqa")),
        ("bioasq", Question("bioasq:5be", "Which gene is mutated?", ("CFTR", "ABCC7"), "bioasq", "biomedicine")),
    ],
)
def test_a_row_with_its_own_id_becomes_a_question(tmp_path: Path, name: str, expected: Question) -> None:
    assert load_questions(f"{name}:{write_rows(tmp_path / 'rows.jsonl', ROWS[name])}") == [expected]


def test_a_row_without_an_id_gets_one_from_its_text_alone(tmp_path: Path) -> None:
    first = load_questions(f"nq-open:{write_rows(tmp_path / 'a.jsonl', NQ)}")[0]
    other = {"question": "who painted guernica", "answer": ["Picasso"]}
    again = load_questions(f"nq-open:{write_rows(tmp_path / 'b.jsonl', other, NQ | {'answer': ['Austen']})}")
    assert first.id in {question.id for question in again}
    assert (first.text, first.answers) == ("who wrote emma", ("Jane Austen", "Austen"))


def test_invented_and_real_entities_are_told_apart_by_their_label(tmp_path: Path) -> None:
    real = {"prompt": "What do otters eat?", "label": 0, "category": "animals"}
    questions = load_questions(f"nec:{write_rows(tmp_path / 'rows.jsonl', NEC, real)}")
    assert {q.text: q.answerable for q in questions} == {"What do Snaiporsea eat?": False, "What do otters eat?": True}
    assert all(q.answers == () and q.relation == q.domain == "animals" for q in questions)


def test_own_rows_may_bring_id_relation_and_unanswerable_questions(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "question": "Capital of Chile?", "answers": "Santiago", "relation": "capital", "domain": "places"},
        {"question": "Capital of Flumbria?", "answerable": False},
    ]
    questions = {q.text: q for q in load_questions(f"file:{write_rows(tmp_path / 'rows.jsonl', *rows)}")}
    assert questions["Capital of Chile?"] == Question(
        "7", "Capital of Chile?", ("Santiago",), "file", "places", "capital"
    )
    assert questions["Capital of Flumbria?"].answers == ()
    assert not questions["Capital of Flumbria?"].answerable


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_plain_and_gzipped_rows_are_the_same(tmp_path: Path, suffix: str) -> None:
    path = write_rows(tmp_path / f"rows{suffix}", *own_rows(5))
    assert [q.id for q in load_questions(f"file:{path}")] == [
        q.id for q in load_questions(f"file:{write_rows(tmp_path / 'other.jsonl', *own_rows(5))}")
    ]


def test_parquet_rows_with_nested_answers_are_read(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.Table.from_pylist([TRIVIA]), tmp_path / "rows.parquet")
    assert load_questions(f"triviaqa:{tmp_path / 'rows.parquet'}")[0].answers == ("Jane Austen", "Austen")


def test_parquet_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"hneurons\[data\]"):
        load_questions(f"triviaqa:{tmp_path / 'rows.parquet'}")


def test_a_whole_json_document_with_one_list_is_read(tmp_path: Path) -> None:
    (tmp_path / "bioasq.json").write_text(json.dumps({"questions": [BIOASQ, BIOASQ | {"id": "y", "type": "yesno"}]}))
    assert [q.id for q in load_questions(f"bioasq:{tmp_path / 'bioasq.json'}")] == ["bioasq:5be"]


def test_several_files_are_one_set(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "a.jsonl", *own_rows(6)[:3])
    second = write_rows(tmp_path / "b.jsonl", *own_rows(6)[3:])
    both = write_rows(tmp_path / "c.jsonl", *own_rows(6))
    assert load_questions(f"file:{first},{second}") == load_questions(f"file:{both}")


def test_the_same_question_spelled_differently_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        OWN,
        {"question": "who  wrote émma", "answers": ["Austen"]},
        {"question": "Who wrote Persuasion?", "answers": ["Austen"]},
    ]
    with caplog.at_level(logging.INFO):
        questions = load_questions(f"file:{write_rows(tmp_path / 'rows.jsonl', *rows)}")
    assert {q.text for q in questions} == {"Who wrote Emma?", "Who wrote Persuasion?"}
    assert "1 of 3 questions dropped" in caplog.text


def test_order_depends_on_seed_and_ids_and_not_on_the_file(tmp_path: Path) -> None:
    rows = own_rows(40)
    forward = f"file:{write_rows(tmp_path / 'a.jsonl', *rows)}"
    backward = f"file:{write_rows(tmp_path / 'b.jsonl', *rows[::-1])}"
    assert load_questions(forward) == load_questions(backward)
    assert load_questions(forward, seed=1) != load_questions(forward, seed=2)
    assert [q.id for q in load_questions(forward)] != sorted(q.id for q in load_questions(forward))


def test_a_smaller_limit_is_a_part_of_a_larger_one(tmp_path: Path) -> None:
    spec = f"file:{write_rows(tmp_path / 'rows.jsonl', *own_rows(40))}"
    assert load_questions(spec, limit=7, seed=3) == load_questions(spec, limit=20, seed=3)[:7]
    assert len(load_questions(spec, limit=99)) == 40


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('"Who wrote ""Emma""?"', 'Who wrote "Emma"?'),
        (
            '"In which film did Garbo say, ""I want to be alone""."',
            'In which film did Garbo say, "I want to be alone".',
        ),
        ('"""Emma"" is by whom?"', '"Emma" is by whom?'),
        (
            '"Rodney you plonka" is a catchphrase of which sitcom?',
            '"Rodney you plonka" is a catchphrase of which sitcom?',
        ),
        ('"Only the names have been changed."', '"Only the names have been changed."'),
        ("Who wrote Emma?", "Who wrote Emma?"),
    ],
)
def test_csv_quoting_left_in_triviaqa_is_undone(raw: str, text: str) -> None:
    assert unquote_csv(raw) == text


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, row in ROWS.items() for field in row])
def test_a_missing_field_is_named_with_its_row_and_the_known_fields(tmp_path: Path, name: str, field: str) -> None:
    row = ROWS[name]
    path = write_rows(tmp_path / "rows.jsonl", row, {key: value for key, value in row.items() if key != field})
    with pytest.raises(SchemaError) as error:
        load_questions(f"{name}:{path}")
    message = str(error.value)
    assert f"row 2: the field '{field}' is missing" in message
    assert all(key in message for key in row)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("nq-open", NQ | {"answer": []}, "'answer' should be one text or a list"),
        ("nq-open", NQ | {"answer": [True, 2]}, "found \\[true, 2\\]"),
        ("nq-open", NQ | {"question": "  "}, "'question' should be text"),
        ("triviaqa", TRIVIA | {"answer": "Austen"}, "'answer' should be an object"),
        ("triviaqa", TRIVIA | {"answer": {"aliases": ["x"]}}, "field 'answer': the field 'value' is missing"),
        ("nec", NEC | {"label": 2}, "0 \\(real\\) or 1"),
        ("nec", NEC | {"label": "NEC"}, "'label' should be a whole number"),
        ("bioasq", BIOASQ | {"type": "yesno"}, "no row has type 'factoid'"),
        ("file", ["Who?"], "row 1 is list, not an object"),
    ],
)
def test_a_wrong_field_gives_one_sentence(tmp_path: Path, name: str, row: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        load_questions(f"{name}:{write_rows(tmp_path / 'rows.jsonl', row)}")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("rows.jsonl", b"", "has no rows"),
        ("rows.jsonl", b"\n \n", "has no rows"),
        ("rows.jsonl", b"question,answer\n", "row 1 is not JSON"),
        ("rows.jsonl", b"\xff\xfe\x00", "check that it is a whole, real text file"),
        ("rows.jsonl.gz", b"not gzip at all", "check that it is a whole, real text file"),
        ("rows.json", b"{}", "holds no list of rows"),
        ("rows.json", b"[]", "has no rows"),
        ("rows.parquet", b"not parquet", "is no Parquet file"),
        ("rows.txt", b"question,answer", "ends in .jsonl"),
    ],
)
def test_a_file_that_is_no_question_file_gives_one_sentence(
    tmp_path: Path, file: str, content: bytes, words: str
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        load_questions(f"file:{tmp_path / file}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("trivia", "known are bioasq"),
        ("file:/nowhere/rows.jsonl", "is no file"),
        ("file", "needs a file"),
        ("bioasq", "bioasq:FILE"),
        ("nec", "nec:FILE"),
        ("triviaqa:", "names no file"),
    ],
)
def test_a_spec_that_cannot_be_loaded_says_what_to_give(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_questions(spec)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        load_questions("file:x.jsonl", limit=0)


def test_one_id_for_two_questions_is_refused(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "One?", "answers": "1"}, {"id": "a", "question": "Two?", "answers": "2"}]
    with pytest.raises(SchemaError, match="'a' stands for two questions"):
        load_questions(f"file:{write_rows(tmp_path / 'rows.jsonl', *rows)}")


@pytest.mark.parametrize("name", ["triviaqa", "nq-open"])
def test_without_a_network_the_hub_sets_tell_to_give_a_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(EndpointError, match=f"{name}:FILE"):
        load_questions(name)


def test_rows_of_the_hub_are_read_like_rows_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: datasets.Dataset.from_list([TRIVIA]))
    assert load_questions("triviaqa") == load_questions(f"triviaqa:{write_rows(tmp_path / 'rows.jsonl', TRIVIA)}")


def test_without_the_datasets_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"hneurons\[data\]"):
        load_questions("nq-open")


def test_every_set_has_a_one_line_summary() -> None:
    assert all(summary.endswith(".") for summary in QUESTIONS.summaries().values())


@pytest.mark.shared
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("triviaqa:triviaqa_validation.jsonl.gz", 11310),
        ("nq-open:nq_open_validation.jsonl", 3609),
        ("bioasq:bioasq13b_factoid.jsonl", 1599),
        ("nec:unknownbench_nec_unanswerable.jsonl,unknownbench_nec_answerable.jsonl", 4149),
    ],
)
def test_the_real_rows_of_each_public_set_load(spec: str, expected: int) -> None:
    name, _, files = spec.partition(":")
    paths = [DATA / file for file in files.split(",")]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"the shared evaluation data is missing at {DATA}")
    questions = load_questions(f"{name}:{','.join(map(str, paths))}")
    assert (
        len(questions) == expected == len({q.id for q in questions}) == len({question_key(q.text) for q in questions})
    )
    assert all(q.text and '""' not in q.text for q in questions if name != "triviaqa")
    assert all(bool(q.answers) == (name != "nec") for q in questions)
    assert all(not text.startswith('"') or '""' not in text for text in (q.text for q in questions))


@pytest.mark.parametrize("name", ["facts", "invented", "known-entities"])
def test_built_in_sets_take_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes no file"):
        load_questions(f"{name}:{write_rows(tmp_path / 'rows.jsonl', OWN)}")
