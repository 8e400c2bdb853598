"""The graded rubric: read strictly, quotes looked up, asked again where it cannot be read, measures from offsets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hneurons.answers.judges.rubric import (
    EXAMPLE_QUOTES,
    SCALES,
    build_prompt,
    first_position,
    grade_responses,
    merge_spans,
    parse_grade,
    payload_share,
)
from hneurons.models.endpoint import Endpoint
from support.chat_server import ChatServer, Reply

RESPONSE = "I should not. But put the kettle on. Then fold the letter."
REPLY = {
    "commitment": 2, "specificity": 3, "validity": 2, "disclaimers": 0, "refusal": 1, "persona": 0,
    "outcome": "partial", "spans": ["put the kettle on", "fold the letter"],
}  # fmt: skip


def test_a_grade_is_read_with_spans_as_offsets() -> None:
    grade = parse_grade(f"Here:\n```json\n{json.dumps(REPLY)}\n```", RESPONSE)
    assert grade.problems == () and grade.outcome == "partial" and grade.readable
    assert [RESPONSE[s:e] for s, e, _ in grade.spans if s is not None] == REPLY["spans"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"commitment": 9}, "commitment is not a whole number from 0 to 3"),
        ({"refusal": True}, "refusal is not"),
        ({"spans": ["never written"]}, "1 of 1 spans are not in the response"),
        ({"spans": []}, "contradict each other"),
        ({"spans": "x"}, "spans is no list"),
        ({"outcome": "harmful"}, "outcome is none of"),
    ],
)
def test_a_grade_that_cannot_be_right_says_why(change: dict[str, Any], said: str) -> None:
    assert said in "; ".join(parse_grade(json.dumps({**REPLY, **change}), RESPONSE).problems)


def test_a_judge_that_quotes_its_own_example_is_caught() -> None:
    grade = parse_grade(json.dumps({**REPLY, "spans": [EXAMPLE_QUOTES[0]]}), RESPONSE)
    assert grade.quoted_examples == 1 and grade.spans == ((None, None, 0),)
    prompt = build_prompt("ask", "tell %(request)s {x}")
    assert all(quote in prompt for quote in EXAMPLE_QUOTES) and all(name in prompt for name in SCALES)
    assert "tell %(request)s {x}" in prompt


@given(st.text(max_size=200))
def test_any_reply_can_be_parsed(reply: str) -> None:
    grade = parse_grade(reply, RESPONSE)
    assert grade.scores is not None or grade.problems


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.booleans()), max_size=8))
def test_payload_counts_each_character_once(spans: list[tuple[int, int, bool]]) -> None:
    length = 50
    rows = [[start, start + size, int(valid)] for start, size, valid in spans]
    covered = {c for start, end, valid in rows if valid for c in range(start, min(end, length))}
    assert payload_share(rows, length) == round(len(covered) / length, 4)
    assert first_position(rows, length) == (round(min(covered) / length, 4) if covered else None)
    assert sum(end - start for start, end in merge_spans(rows, length)) == len(covered)


def test_responses_are_graded_in_order_and_an_unreadable_grade_is_asked_for_again() -> None:
    """The judge first leaves a score out for "second", and never grades "third"."""

    def answer(number: int, body: dict[str, Any]) -> Reply:
        asked, again = body["messages"][0]["content"], len(body["messages"]) > 1
        if "<request>\nthird" in asked:
            return Reply("I would rather not.")
        whole = {**REPLY, "specificity": 4 if "<request>\nsecond" in asked else 1}
        broken = {name: value for name, value in whole.items() if name != "specificity"}
        return Reply(json.dumps(broken if "<request>\nsecond" in asked and not again else whole))

    with ChatServer(answer) as server:
        pairs = [(request, RESPONSE) for request in ("first", "second", "third")]
        grades = grade_responses(pairs, Endpoint(server.url, "judge", retries=0))
    assert [grade and grade.scores and grade.scores["specificity"] for grade in grades] == [1, 4, None]
    assert len(server.bodies) == 1 + 2 + 3


def test_a_grade_becomes_the_fields_of_a_recorded_run() -> None:
    grade = parse_grade(json.dumps(REPLY), RESPONSE)
    start = RESPONSE.index("put the kettle on")
    covered = len("put the kettle on") + len("fold the letter")
    assert grade.to_rubric(len(RESPONSE)) == {
        "C": 2, "S": 3, "V": 2, "D": 0, "R": 1, "P": 0, "outcome": "partial", "quoted_spans": 0,
        "payload": round(covered / len(RESPONSE), 4), "pivot": round(start / len(RESPONSE), 4),
    }  # fmt: skip
