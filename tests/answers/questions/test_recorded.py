"""Recorded answers are read row by row: several to a question, with verdicts and tokens where there are any."""

import json
from pathlib import Path
from typing import Any

import pytest

from hneurons.answers.questions import load_questions
from hneurons.answers.questions.recorded import RecordedAnswer, group_by_text, read_recorded
from hneurons.core.errors import HNeuronsError


def read(folder: Path, *rows: Any) -> list[RecordedAnswer]:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_recorded([path])


RIVER = {"question": "Which river?", "response": " The Nile\n"}


def test_answers_to_one_question_are_numbered_and_its_first_row_tells_of_it(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {**RIVER, "answers": ["Nile"], "relation": "rivers"},
        {"question": "Which city?", "response": "Rome", "correct": False, "aliases": "Paris"},
        {**RIVER, "question": "which RIVER", "response": "The Rhine", "verdict": "abstained"},
    )
    assert [answer.response.id.rpartition("#")[2] for answer in found] == ["0", "0", "1"]
    assert found[0].question is found[2].question and found[0].question.answers == ("Nile",)
    assert found[0].response.text == " The Nile\n"
    assert [answer.verdict for answer in found] == [None, "incorrect", "abstained"]
    assert found[1].question.answers == ("Paris",)
    asked = load_questions(f"recorded:{tmp_path / 'answers.jsonl'}")
    assert {question.id for question in asked} == {answer.question.id for answer in found}


def test_a_context_stands_before_the_question_and_tokens_are_taken_over(tmp_path: Path) -> None:
    row = {**RIVER, "context": "It is long.", "token_ids": [3, 4], "logprobs": [-0.5, 0], "finish_reason": "length"}
    (found,) = read(tmp_path, row)
    assert found.question.text == "It is long.\n\nWhich river?"
    assert found.response.token_ids == (3, 4) and found.response.logprobs == (-0.5, 0.0)
    assert found.response.finish_reason == "length"


def test_empty_answers_and_csv_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text('question,response,correct,token_ids\nWhich river?,,true,\nWhich city?,Rome,0,"[5, 6]"\n')
    first, second = read_recorded([path])
    assert first.response.text == "" and first.verdict == "correct"
    assert second.verdict == "incorrect" and second.response.token_ids == (5, 6)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"response": "The Nile"}, "'question' is missing"),
        ({**RIVER, "verdict": "good"}, "'verdict' should be one of correct, incorrect, abstained, unscored"),
        ({**RIVER, "correct": "perhaps"}, "'correct' should be true or false"),
        ({**RIVER, "token_ids": [1.5]}, "whole numbers"),
        ({**RIVER, "logprobs": [0.5]}, "at most 0"),
        ({**RIVER, "logprobs": [True]}, "at most 0"),
        ({**RIVER, "token_ids": [1], "logprobs": [-1, -2]}, "2 'logprobs' for 1 'token_ids'"),
        ({**RIVER, "messages": [{"role": "user", "content": "Hi"}]}, "can only be scored"),
        ({**RIVER, "response": ["The Nile"]}, "should be text, found list"),
        ({**RIVER, "question": "Which city?", "question_id": "7"}, "stands for another question"),
        (["Which river?"], "not an object"),
    ],
)
def test_a_wrong_row_is_one_sentence_that_names_it(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(HNeuronsError, match=said) as caught:
        read(tmp_path, {**RIVER, "question_id": "7"}, row)
    assert "row 2" in str(caught.value)


def test_a_missing_file_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HNeuronsError, match="needs a file"):
        load_questions("recorded")
    with pytest.raises(HNeuronsError, match="there is no field 'response'"):
        read(tmp_path, {"question": "Which river?"})
    with pytest.raises(HNeuronsError, match=r"none\.jsonl"):
        load_questions(f"recorded:{tmp_path / 'none.jsonl'}")


def test_one_text_under_two_ids_is_one_group_and_other_questions_stay_their_own(tmp_path: Path) -> None:
    rows = [
        {**RIVER, "question_id": "a"},
        {**RIVER, "question": "WHICH river", "question_id": "b"},
        {**RIVER, "question": "Which city?", "question_id": "c", "fact": "Rome"},
        {**RIVER, "question": "Which city", "question_id": "d"},
        {**RIVER, "question": "Which king?", "question_id": "e"},
    ]
    asked = group_by_text(answer.question for answer in read(tmp_path, *rows))
    assert [question.group for question in asked] == ["which river", "which river", "Rome", "Rome", "e"]
    assert [question.id for question in asked] == ["a", "b", "c", "d", "e"]
