"""Rows of frozen values: what is written is JSON, and comes back as it was."""

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hneurons.core.rows import Row, dump_json, from_row, load_json, to_row
from hneurons.core.stats import Estimate
from hneurons.core.types import Example, Question, Response
from hneurons.models.prompts import PromptStyle


@dataclass(frozen=True, slots=True)
class Inner(Row):
    value: float
    pair: tuple[int, float | None] = (0, None)


@dataclass(frozen=True)
class Outer(Row):
    name: str
    kind: Literal["a", "b"]
    parts: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = field(default_factory=dict)
    grid: tuple[tuple[float, ...], ...] = ()
    maybe: float | None = None
    anything: dict[str, Any] = field(default_factory=dict)
    flag: bool = False


def strict(data: bytes) -> Any:
    return json.loads(data, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


FLOATS = st.floats(allow_infinity=False)
INNER = st.builds(Inner, FLOATS, st.tuples(st.integers(), st.none() | FLOATS.filter(math.isfinite)))
OUTER = st.builds(
    Outer,
    st.text(),
    st.sampled_from(["a", "b"]),
    st.lists(INNER).map(tuple),
    st.dictionaries(st.text(), INNER),
    st.lists(st.lists(FLOATS).map(tuple)).map(tuple),
    st.none() | FLOATS.filter(math.isfinite),
    st.dictionaries(st.text(), st.integers() | st.text() | st.none()),
    st.booleans(),
)


@given(OUTER)
def test_a_value_comes_back_from_its_row_and_nan_is_null_on_the_way(value: Outer) -> None:
    data = dump_json(value)
    again = Outer.from_row(strict(data))
    assert repr(again) == repr(value)
    assert dump_json(again) == data


def test_infinity_is_null_too_and_null_in_a_float_is_nan() -> None:
    assert strict(dump_json([math.inf, -math.inf, math.nan])) == [None, None, None]
    found = from_row(Estimate, {"value": None, "low": None, "high": 1, "n": 0})
    assert math.isnan(found.value) and math.isnan(found.low) and found.high == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"name": "x"}, "'kind' is missing"),
        ({"name": "x", "kind": "c"}, "'kind' should be one of a, b, found 'c'"),
        ({"name": 3, "kind": "a"}, "'name' should be text, found 3"),
        ({"name": "x", "kind": "a", "more": 1}, "'more' is no field of Outer"),
        ({"name": "x", "kind": "a", "parts": [{"value": "1"}]}, r"'parts\[0\].value' should be a number or null"),
        ({"name": "x", "kind": "a", "parts": [{"value": True}]}, r"'parts\[0\].value' should be a number or null"),
        ({"name": "x", "kind": "a", "parts": [{"value": 1, "pair": [1]}]}, r"'parts\[0\].pair' should be a list of 2"),
        ({"name": "x", "kind": "a", "by_name": []}, "'by_name' should be an object"),
        ({"name": "x", "kind": "a", "by_name": {"k": {}}}, r"'by_name.k.value' is missing"),
        ({"name": "x", "kind": "a", "flag": 1}, "'flag' should be true or false"),
        ([], r"expected an object \(Outer\)"),
        (None, r"expected an object \(Outer\)"),
    ],
)
def test_a_wrong_row_names_its_field(row: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Outer.from_row(row)


def test_text_that_is_no_unicode_is_written_and_read_again() -> None:
    assert load_json(dump_json({"text": "a\ud800b", "more": "ä"})) == {"text": "a\ud800b", "more": "ä"}


def test_json_nested_too_deep_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        load_json("[" * 100_000)


def test_the_values_of_a_run_come_back() -> None:
    question = Question("q", "Who?", ("a", "b"), fact="f")
    example = Example(question, Response("q", 1, "x", (1, 2), (-0.5, -1.0), "length"), "incorrect", "test", (0, 1))
    assert Example.from_row(strict(dump_json(example))) == example
    assert "fact" not in to_row(Question("q", "Who?"))
    style = PromptStyle(shots=(("q", "a"),), chat=False)
    assert PromptStyle.from_row(strict(dump_json(style))) == style
