"""A prompt that does not ask the question, or is over before the answer, is refused before anything is measured."""

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Regex, normalizers
from tokenizers.processors import TemplateProcessing

from hneurons.cli.doctor import Wanted, examine
from hneurons.core.errors import InputError
from hneurons.models import language_model
from hneurons.models.checkpoints import tokenizer_hash
from hneurons.models.language_model import LanguageModel
from hneurons.models.prompts import PromptStyle, encode_prompt, render_chat, render_prompt
from support.tiny_models import tiny_tokenizer, tiny_transformer

TURN = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
PARTS = (
    "{% for m in messages %}<s>{{ m['role'] }}: {% for p in m['content'] %}{{ p['text'] }}{% endfor %}</s>{% endfor %}"
)
STRICT_PARTS = "{% for m in messages %}<s>{{ m['content'][0]['text'] | trim }}</s>{% endfor %}"
SHOTS = (("Who wrote Hamlet?", "Shakespeare"),)


def with_template(template: Any) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("template", [f"{PARTS}<s>answer:", f"{STRICT_PARTS}<s>answer:"])
def test_a_template_that_reads_parts_is_given_parts(template: str) -> None:
    prompt = render_prompt(with_template(template), "Who?", PromptStyle(shots=SHOTS))
    assert "Who?" in prompt and "Who wrote Hamlet?" in prompt and "Shakespeare" in prompt
    assert prompt.endswith("<s>answer:")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("<s>answer:", "does not write what the user says"),
        ("{{ messages[0]['role'] }}:", "does not write what the user says"),
        ("{% for m in messages if m['role'] != 'user' %}{{ m['content'] }}{% endfor %}answer:", "does not write"),
        ("{{ messages[-1]['content'] }}answer:", "'Who wrote Hamlet"),  # earlier user turns are dropped
        ("{{ messages[0]['content'] }}answer:", "'Who[?] "),  # the last one is
        ("{{ messages[0]['content'][:4] }}answer:", "does not write"),
        ("{{ raise_exception('no turns, please') }}", "fails on turns of user and assistant .no turns, please"),
        ("{{ messages[0].content.no.such.thing }}", "fails on turns"),
        ("{% for m in %}", "fails on turns"),
        (TURN, "ends with '</s>'"),
        (f"{TURN}\n ", "ends with '</s>'"),
        ({"tools": TURN, "rag": TURN}, r"several chat templates .rag, tools. and none is named 'default'"),
    ],
)
def test_a_template_that_loses_the_question_is_one_sentence(template: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        encode_prompt(with_template(template), "Who?", PromptStyle(shots=SHOTS))
    assert "\n" not in str(caught.value)


def test_a_conversation_keeps_every_turn_of_the_user() -> None:
    turns = [{"role": r, "content": c} for r, c in [("user", "first"), ("assistant", "x"), ("user", "second")]]
    assert "first" in render_chat(with_template(f"{TURN}<s>"), turns)
    with pytest.raises(InputError, match="'first' is not in"):
        render_chat(with_template("{{ messages[-1]['content'] }}"), turns)


def test_several_templates_with_a_default_use_it_and_have_an_identity() -> None:
    templates = {"default": f"{TURN}<s>answer:", "tools": "x"}
    assert render_prompt(with_template(templates), "Who?", PromptStyle(instruction="")).endswith("<s>answer:")
    assert tokenizer_hash(with_template(templates)) != tokenizer_hash(with_template({**templates, "tools": "y"}))


def appends_an_end(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])


def starts_twice(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> <s> $A", special_tokens=[("<s>", 0)])


def forgets_all_letters(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex("[A-Za-z]+ ?"), "")


def forgets_all(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex(r"[\s\S]"), "")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (appends_an_end, "ends a prompt with '</s>', after which nothing is said: set add_eos_token to false"),
        (starts_twice, "begins with two start tokens"),
        (forgets_all, "makes no token of a prompt"),
        (forgets_all_letters, "two questions give the same prompt"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_tokenizer_that_spoils_prompts_is_refused_by_runs_and_by_doctor(
    damage: Callable[[Any], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tiny_tokenizer()
    model = LanguageModel(tiny_transformer("llama"), tokenizer, name="tiny")
    model.encode("Who?", PromptStyle(instruction="x"))
    damage(tokenizer)
    with pytest.raises(InputError, match=message):
        model.encode("Who?", PromptStyle())
    monkeypatch.setattr(language_model, "load_model", lambda *args, **options: model)
    with pytest.raises(InputError, match=message):
        examine("tiny", Wanted(examples=1), device="cpu")


def test_doctor_refuses_a_template_without_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(tiny_transformer("llama"), with_template("<s>answer:"), name="tiny")
    monkeypatch.setattr(language_model, "load_model", lambda *args, **options: model)
    with pytest.raises(InputError, match="does not write what the user says"):
        examine("tiny", Wanted(examples=1), device="cpu")
