"""Files as others write them, whoever reads them: questions, answers to score, and records to import."""

import gzip
import json
from pathlib import Path

import pytest

from hneurons.answers.questions import load_questions, question_key
from hneurons.answers.questions.rows import read_rows
from hneurons.core.errors import InputError, SchemaError
from hneurons.core.foreign_rows import bare_name
from hneurons.detection.answer_files import read_answers
from hneurons.records.importing import read_source


def as_table(delimiter: str, *, index: bool = False) -> str:
    rows = [("question", "response", "note"), ("Who?", f"Ann {delimiter} Bo", ""), ("Which?", "x" * 200_000, "n")]
    quoted = [[f'"{cell}"' if delimiter in cell else cell for cell in row] for row in rows]
    return "".join(delimiter.join([str(n - 1) if n else ""] * index + row) + "\r\n" for n, row in enumerate(quoted))


ROWS = [{"question": "Who?", "response": "Ann"}, {"question": "Which?", "response": "\ud800" + "x" * 200_000}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
COLUMNS = json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}).encode()
FOREIGN = {
    "a.csv": as_table(",").encode(),
    "excel.csv": b"\xef\xbb\xbf" + as_table(";").encode(),
    "frame.csv": as_table(",", index=True).encode(),
    "a.tsv.gz": gzip.compress(as_table("\t").encode("utf-16")),
    "BAR.CSV": as_table("|").encode(),
    "a.jsonl": b"\xef\xbb\xbf" + LINES,
    "a.json": json.dumps(ROWS).encode(),
    "nested.json": json.dumps({"of": 3, "questions": ROWS}).encode(),
    "columns.json.gz": gzip.compress(COLUMNS),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_questions_answers_and_records_are_read_in_one_way(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FOREIGN[name])
    taken = [
        [row.values for row in read_rows([path])],
        [{"question": answer.question, "response": answer.response} for answer in read_answers(path)],
        list(read_source(path)),
    ]
    for rows in taken:
        assert [row["question"] for row in rows] == ["Who?", "Which?"] and "" not in rows[0]
        assert rows[0]["response"].startswith("Ann") and len(rows[1]["response"]) >= 200_000


def test_parquet_is_read_by_all_of_them(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"question": ["Who?"], "response": ["Ann"]}), path)
    assert [row.values for row in read_rows([path])] == list(read_source(path)) == [ROWS[0]]
    assert [answer.response for answer in read_answers(path)] == ["Ann"]


@pytest.mark.parametrize(("file", "name"), [("a/nq.v2.jsonl.gz", "nq.v2"), ("my file.CSV", "my file"), ("x.txt", "x")])
def test_a_file_is_called_what_stands_before_its_kind(file: str, name: str) -> None:
    assert bare_name(Path(file)) == name


def load(path: Path, data: bytes) -> list[tuple[str, tuple[str, ...]]]:
    path.write_bytes(data)
    return sorted((q.text, q.answers) for q in load_questions(f"file:{path}"))


ROW = '{"question": "How many?", "answers": ["42"]}\n'
SAME = [
    ("a.jsonl", ROW.encode()),
    ("a.jsonl", b"\xef\xbb\xbf" + ROW.encode()),
    ("a.jsonl", ROW.encode("utf-16")),
    ("a.jsonl", ROW.replace("\n", "\r\n").encode()),
    ("a.jsonl", b'{"question": "How many?", "answers": 42}'),
    ("a.jsonl", b'{"question": "How many?", "answers": 42.0}'),
    ("a.jsonl", b'{"question": "How many?", "answer": "42"}'),
    ("a.jsonl", b'{"question": "How many?", "answers": "[\\"42\\"]"}'),
    ("a.csv", b"question,answers\nHow many?,42\n"),
    ("a.csv", b"\xef\xbb\xbfquestion;answer\r\nHow many?;42\r\n"),
    ("a.csv", b'question;answer\n"How many?";"[""42""]"\n'),
    ("a.tsv", b"question\tanswers\nHow many?\t42\n"),
    ("a.csv.gz", gzip.compress(b"question,answers\nHow many?,42\n", mtime=0)),
]


@pytest.mark.parametrize(("name", "data"), SAME)
def test_a_file_says_the_same_whatever_wrote_it(tmp_path: Path, name: str, data: bytes) -> None:
    assert load(tmp_path / name, data) == [("How many?", ("42",))]


def test_a_long_cell_is_read_whole(tmp_path: Path) -> None:
    long = "x" * 200_000
    assert load(tmp_path / "a.csv", f"question,answers\nWhat?,{long}\n".encode()) == [("What?", (long,))]


BAD = [
    ("a.jsonl", b'{"question": "Who \\ud800?", "answers": "x"}', SchemaError, "half a character"),
    ("a.jsonl", b'{"question": "Who?", "answers": ["\\udfff"]}', SchemaError, "half a character"),
    ("a.jsonl", b"[" * 100_000, SchemaError, "nested too deeply|is not JSON"),
    ("a.jsonl.gz", gzip.compress(ROW.encode(), mtime=0)[:-12] + b"\0" * 12, InputError, "cannot be read"),
    ("a.csv", b"question,answers\na,b,c\n", SchemaError, "more cells than the header"),
    ("a.csv", b'question,answers\n"a,b\n', SchemaError, "quotation marks"),
    ("a.csv", b"text,gold\na,b\n", SchemaError, "'question' is missing"),
    ("a.jsonl", b'{"question": "Who?", "answers": true}', SchemaError, "one text or a list"),
    ("a.jsonl", b'{"question": "Who?", "answers": NaN}', SchemaError, "one text or a list"),
    ("a.jsonl", b'{"question": "Who?", "answers": "<unk>"}', SchemaError, "none of the 1 questions has an answer"),
    ("a.jsonl", b'{"question": "Who?", "answers": "x", "answerable": "maybe"}', SchemaError, "true or false"),
]


@pytest.mark.parametrize(("name", "data", "error", "words"), BAD)
def test_a_file_that_cannot_be_used_gives_one_sentence(
    tmp_path: Path, name: str, data: bytes, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as raised:
        load(tmp_path / name, data)
    assert "\n" not in str(raised.value)


def test_a_word_for_false_makes_a_question_unanswerable(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,answerable\nWho is Zorb?,false\nWho is Zarb?,0\n")
    assert [q.answerable for q in load_questions(f"file:{path}")] == [False, False]


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hneurons.core.foreign_text.MAX_BYTES", 1000)
    with pytest.raises(InputError, match="split it"):
        load(tmp_path / "a.jsonl.gz", gzip.compress(json.dumps({"question": "x" * 2000}).encode()))


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is 9 + 3?", "What is 9 - 3?"), ("9-3?", "9+3?"), ("What is 1.5?", "What is 15?"), ("C++?", "C#?"), 
     ("कि?", "की?"),
     ("Is $5 more?", "Is €5 more?"), ("What is 10²?", "What is 102?"), ("What is -4?", "What is 4?"), ("50%?", "50?")],
)  # fmt: skip
def test_two_questions_have_two_keys(one: str, other: str) -> None:
    assert question_key(one) != question_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Who is Beyoncé?", "who is beyonce"), ("1,000 men?", "1000 men"), ("The well-known?", "the well known")],
)
def test_spellings_of_one_question_share_a_key(one: str, other: str) -> None:
    assert question_key(one) == question_key(other)
