"""Questions as token ids: the model's chat template where it has one, else the paper's base format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hneurons.core.errors import InputError
from hneurons.core.rows import Row
from hneurons.models.prompt_check import check_end, check_ids, check_templates, check_turns

SHORT_ANSWER = "Respond with the answer only, without any explanation."
# Some templates print today's date; a fixed one keeps prompts, and so every number, the same tomorrow.
_TEMPLATE_OPTIONS = {"date_string": "1 January 2025", "enable_thinking": False}


@dataclass(frozen=True, slots=True)
class PromptStyle(Row):
    """How a question is put to the model.

    instruction: appended to every question in a chat (the paper's appended sentence by default).
    shots: (question, answer) pairs shown first, as earlier turns in a chat or as earlier blocks in base format.
    chat: use the chat template; None means "if there is one".
    """

    instruction: str = SHORT_ANSWER
    shots: tuple[tuple[str, str], ...] = ()
    chat: bool | None = None


def uses_chat(tokenizer: Any, style: PromptStyle) -> bool:
    """Raises `InputError` when a chat is demanded of a tokenizer that has no chat template."""
    if style.chat and not tokenizer.chat_template:
        raise InputError("this model has no chat template: leave the prompt style's chat at None for the base format")
    return bool(tokenizer.chat_template) if style.chat is None else style.chat


def render_prompt(tokenizer: Any, question: str, style: PromptStyle) -> str:
    """The prompt as text, ready to encode without adding special tokens in the chat case."""
    if not uses_chat(tokenizer, style):
        blocks = [f"Question: {q}\nAnswer: {a}" for q, a in style.shots]
        return "\n\n".join([*blocks, f"Question: {question}\nAnswer:"])
    turns = []
    for shot, answer in style.shots:
        turns += [_turn("user", f"{shot} {style.instruction}"), _turn("assistant", answer)]
    return render_chat(tokenizer, [*turns, _turn("user", f"{question} {style.instruction}")])


def render_chat(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """Chat turns (role, content) as text that ends where the model's turn begins.

    Templates that read content as a list of parts get one. Raises `InputError` for a template that fails, leaves out
    what the user says or closes the chat.
    """
    check_templates(tokenizer)
    parts = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in messages]
    try:
        text = _apply_template(tokenizer, messages)
        check_turns(text, messages)
    except InputError as error:
        try:
            text = _apply_template(tokenizer, parts)
            check_turns(text, messages)
        except InputError:
            raise error from None
    check_end(text, tokenizer)
    return text


def _apply_template(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    try:
        rendered: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **_TEMPLATE_OPTIONS
        )
    except Exception as error:  # a template is a program, which fails as it likes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"this model's chat template fails on turns of user and assistant ({reason})") from error
    return rendered


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content.strip()}


def encode_prompt(tokenizer: Any, question: str, style: PromptStyle) -> list[int]:
    """Token ids of the whole prompt. A rendered template already holds its special tokens: none are added twice.

    Raises `InputError` where the prompt would not ask the question, or ends before the answer.
    """
    text = render_prompt(tokenizer, question, style)
    ids = list(tokenizer(text, add_special_tokens=not uses_chat(tokenizer, style))["input_ids"])
    check_ids(ids, tokenizer)
    return ids


def common_prefix(prompts: list[list[int]]) -> list[int]:
    """Longest run of ids all prompts begin with, at least one id short of each, so that each keeps a token to run."""
    if not prompts:
        return []
    first, last = min(prompts), max(prompts)
    limit = min(len(p) for p in prompts) - 1
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    return first[:length]
