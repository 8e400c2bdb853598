"""Questions as token ids: chat template or base format, nothing added twice, and the prefix they share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hneurons.core.errors import InputError
from hneurons.models.prompts import (
    SHORT_ANSWER,
    PromptStyle,
    alternate,
    common_prefix,
    encode_prompt,
    encode_turns,
    question_turns,
    render_chat,
    render_prompt,
    uses_chat,
)
from support.tiny_models import tiny_tokenizer

SHOTS = (("Who wrote Hamlet?", "Shakespeare"), ("What is the capital of France?", "Paris"))


def test_a_base_model_gets_question_and_answer_blocks_that_end_where_the_answer_begins() -> None:
    tokenizer = tiny_tokenizer()
    assert render_prompt(tokenizer, "Who?", PromptStyle()) == "Question: Who?\nAnswer:"
    assert render_prompt(tokenizer, "Who?", PromptStyle(shots=SHOTS)) == (
        "Question: Who wrote Hamlet?\nAnswer: Shakespeare\n\n"
        "Question: What is the capital of France?\nAnswer: Paris\n\n"
        "Question: Who?\nAnswer:"
    )


def test_a_chat_model_gets_its_template_with_shots_as_earlier_turns() -> None:
    tokenizer = tiny_tokenizer(chat=True)
    assert render_prompt(tokenizer, "Who?", PromptStyle(shots=SHOTS[:1])) == (
        f"<s>user: Who wrote Hamlet? {SHORT_ANSWER}</s><s>assistant: Shakespeare</s>"
        f"<s>user: Who? {SHORT_ANSWER}</s><s>answer:"
    )
    assert render_prompt(tokenizer, "Who?", PromptStyle(instruction="")) == "<s>user: Who?</s><s>answer:"
    assert render_prompt(tokenizer, "Who?", PromptStyle(chat=False)) == "Question: Who?\nAnswer:"
    assert uses_chat(tokenizer, PromptStyle()) and not uses_chat(tokenizer, PromptStyle(chat=False))


def test_a_template_asked_of_a_tokenizer_without_one_is_one_sentence() -> None:
    with pytest.raises(InputError, match="no chat template"):
        encode_prompt(tiny_tokenizer(), "Who?", PromptStyle(chat=True))


def test_a_start_token_is_there_once_whether_template_or_tokenizer_adds_it() -> None:
    chat = tiny_tokenizer(chat=True)
    base = tiny_tokenizer()
    from tokenizers.processors import TemplateProcessing

    for tokenizer in (chat, base):
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    ids = encode_prompt(chat, "Who?", PromptStyle())
    assert ids[0] == 0 and ids[1] != 0
    assert chat.decode(ids) == render_prompt(chat, "Who?", PromptStyle())
    ids = encode_prompt(base, "Who?", PromptStyle())
    assert ids[0] == 0 and 0 not in ids[1:]
    assert base.decode(ids[1:]) == "Question: Who?\nAnswer:"


def test_todays_date_does_not_enter_a_prompt() -> None:
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.chat_template = (
        "{% if date_string is not defined %}{{ strftime_now('%d %b %Y') }}{% else %}{{ date_string }}{% endif %}"
        ": {{ messages[0]['content'] }}"
    )
    assert render_prompt(tokenizer, "Who?", PromptStyle(instruction="")) == "1 January 2025: Who?"


def test_a_style_survives_its_row() -> None:
    style = PromptStyle("Answer.", SHOTS, False)
    assert PromptStyle.from_row(style.to_row()) == style
    import json

    assert PromptStyle.from_row(json.loads(json.dumps(style.to_row()))) == style


@given(
    st.lists(st.integers(0, 2), max_size=4),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=5),
)
def test_the_common_prefix_is_the_longest_that_leaves_every_prompt_a_token(
    shared: list[int], rests: list[list[int]]
) -> None:
    prompts = [shared + rest for rest in rests]
    prefix = common_prefix(prompts)
    assert all(p[: len(prefix)] == prefix and len(p) > len(prefix) for p in prompts)
    longer = len(prefix) + 1
    assert len({tuple(p[:longer]) for p in prompts}) > 1 or min(map(len, prompts)) == longer


def test_no_prompts_share_nothing() -> None:
    assert common_prefix([]) == []


def test_a_conversation_in_base_format_is_blocks_and_in_a_chat_turns() -> None:
    turns = alternate(["What is 2 + 2?", "4", " Are you sure?"])
    assert [role for role, _ in turns] == ["user", "assistant", "user"]
    base, chat = tiny_tokenizer(), tiny_tokenizer(chat=True)
    text = "Question: What is 2 + 2?\nAnswer: 4\n\nQuestion:  Are you sure?\nAnswer:"
    assert encode_turns(base, turns) == list(base(text)["input_ids"])
    messages = [{"role": role, "content": said.strip()} for role, said in turns]
    assert encode_turns(chat, turns) == list(chat(render_chat(chat, messages), add_special_tokens=False)["input_ids"])
    assert encode_turns(chat, (("system", "Be brief."), *turns)) != encode_turns(chat, turns)


def test_the_base_format_knows_user_and_assistant_in_turn_only() -> None:
    system = [("system", "Be brief."), ("user", "Why?")]
    for turns in (system, [("user", "Why?"), ("user", "Well?")], alternate(["a", "b"])):
        with pytest.raises(InputError, match="user and assistant in turn"):
            encode_turns(tiny_tokenizer(), turns)


def test_shots_are_earlier_turns_or_earlier_blocks() -> None:
    style = PromptStyle(shots=(("Who?", " Ann. "),), instruction="Be short.")
    assert question_turns("Why?", style) == (
        ("user", "Who? Be short."),
        ("assistant", "Ann."),
        ("user", "Why? Be short."),
    )
    assert question_turns("Why?", style, chat=False) == (("user", "Who?"), ("assistant", " Ann. "), ("user", "Why?"))
