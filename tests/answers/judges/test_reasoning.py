"""Reasoning inside a reply is cut off once, before everything that reads the reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hneurons.answers.judges.alias import judge_alias
from hneurons.answers.judges.asking import Asking, ask_judge
from hneurons.answers.judges.choices import read_choice
from hneurons.answers.judges.llm import judge_prompt
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.answers.judges.refusals import refuses
from hneurons.answers.locating import find_extract
from hneurons.answers.spans import find_answer
from hneurons.core.types import Question
from hneurons.models.endpoint import Endpoint
from support.chat_server import ChatServer, Reply

FRANCE = Question("q", "What is the capital of France?", ("Paris",))
THOUGHT = "Is it Lyon? I don't know. No, not Lyon."
FORMS = [
    f"<think>{THOUGHT}</think>Paris",
    f"<think>\n{THOUGHT}\n</think>\n\nParis",
    f"{THOUGHT}</think>\nParis",
    f"<thinking>{THOUGHT}</thinking> Paris",
    f"<THINK>{THOUGHT}</THINK>Paris",
    f"[THINK]{THOUGHT}[/THINK]Paris",
    f"◁think▷{THOUGHT}◁/think▷Paris",
    f"<think>{THOUGHT}</think><answer>Paris</answer>",
    f"<think>a</think>London<think>{THOUGHT}</think>Paris",
    f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>Paris<|return|>",
    f"analysisThe user asks. {THOUGHT}assistantfinalParis",
    f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|><|begin_of_solution|>Paris<|end_of_solution|>",
]
OPEN = [f"<think>{THOUGHT} Paris", "<think>Paris", f"<|channel|>analysis<|message|>{THOUGHT} Paris", "[THINK] Paris",
        "analysisThe user asks for Paris"]  # fmt: skip


@pytest.mark.parametrize("reply", FORMS)
def test_only_what_follows_the_reasoning_is_read(reply):
    answer = cut_reasoning(reply)
    assert answer.text.strip() == "Paris" and answer.whole
    assert reply[answer.start :].startswith(answer.text)
    assert judge_alias(FRANCE, reply).verdict == "correct"
    span = find_answer(reply, question=FRANCE.text)
    assert span is not None and reply[slice(*span)] == "Paris" and span[0] >= reply.rindex("Paris")
    assert "Lyon" not in judge_prompt(FRANCE, reply)[1][1]
    place = find_extract(reply, "Paris")
    assert place is not None and place[0] >= answer.start
    assert not refuses(reply.replace(THOUGHT, "I can't help with that."))


@pytest.mark.parametrize("reply", OPEN)
def test_reasoning_that_never_ends_is_no_answer(reply):
    assert cut_reasoning(reply) == ("", len(reply), False)
    assert judge_alias(FRANCE, reply).verdict == "unscored"
    assert find_answer(reply, question=FRANCE.text) is None
    assert read_choice(reply.replace("Paris", "B")).label is None


@pytest.mark.parametrize(
    "reply",
    ["Paris", "analysis of variance", "The <b>Paris</b>", "a < b and b > c", "final answer: Paris", "Analysis: Paris",
     "[1] Paris", "analysis shows Paris"],
)  # fmt: skip
def test_a_reply_without_reasoning_is_left_as_it_is(reply):
    assert cut_reasoning(reply) == (reply, 0, True)


@given(st.text(max_size=60), st.sampled_from(["<think>", "</think>", "<answer>", "<|channel|>final<|message|>", ""]))
def test_cutting_twice_changes_nothing(text, mark):
    once = cut_reasoning(text + mark + text)
    assert cut_reasoning(once.text).text == once.text or mark


def test_a_judge_that_reasons_first_is_read_behind_its_reasoning():
    with ChatServer(lambda number, body: Reply("<think>VERDICT: NO</think>VERDICT: YES")) as server:
        (said,) = ask_judge([Asking((("user", "?"),), lambda text: text)], Endpoint(server.url, "m"))
    assert said.read == "VERDICT: YES"
