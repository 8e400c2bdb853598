"""Question files as others write them."""

import gzip
import json
from pathlib import Path

import pytest

from hneurons.answers.questions import load_questions, question_key
from hneurons.core.errors import InputError, SchemaError


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
    monkeypatch.setattr("hneurons.answers.questions.files.MAX_BYTES", 1000)
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
