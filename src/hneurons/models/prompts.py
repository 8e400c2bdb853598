"""Questions and conversations as token ids: by the model's chat template if it has one, else in the base format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hneurons.core.errors import InputError
from hneurons.core.rows import Row
from hneurons.models.endpoint import Message
from hneurons.models.prompt_check import check_end, check_ids, check_templates, check_turns

SHORT_ANSWER = "Respond with the answer only, without any explanation."
# Some templates print today's date; a fixed one keeps prompts, and so every number, the same tomorrow.
_TEMPLATE_OPTIONS = {"date_string": "1 January 2025", "enable_thinking": False}


@dataclass(frozen=True, slots=True)
class PromptStyle(Row):
    """How a question is put to the model.

    - `instruction`: appended to every question in a chat. The default is the paper's sentence.
    - `shots`: (question, answer) pairs shown first, as earlier turns in a chat or as earlier blocks in base format.
    - `chat`: whether to use the chat template. None means "if there is one".
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
    chat = uses_chat(tokenizer, style)
    return render_turns(tokenizer, question_turns(question, style, chat=chat), chat=chat)


def question_turns(question: str, style: PromptStyle, *, chat: bool = True) -> tuple[Message, ...]:
    """The conversation that ends with the question, shots as earlier turns; in a chat with the style's instruction."""

    def ask(text: str) -> Message:
        return "user", f"{text} {style.instruction}".strip() if chat else text

    turns: list[Message] = []
    for shot, answer in style.shots:
        turns += [ask(shot), ("assistant", answer.strip() if chat else answer)]
    return (*turns, ask(question))


def alternate(turns: Sequence[str]) -> tuple[Message, ...]:
    """What user and assistant say in turn, the user first, as messages."""
    return tuple(("assistant" if place % 2 else "user", text) for place, text in enumerate(turns))


def encode_turns(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation that ends with the user's turn, by the chat template or in the base format.

    Raises `InputError` where the prompt would not hold what the user says, or ends before the answer. In the base
    format it also raises it for other roles than user and assistant in turn.
    """
    chat = bool(tokenizer.chat_template)
    ids = list(tokenizer(render_turns(tokenizer, messages, chat=chat), add_special_tokens=not chat)["input_ids"])
    check_ids(ids, tokenizer)
    return ids


def render_turns(tokenizer: Any, messages: Sequence[Message], *, chat: bool) -> str:
    """A conversation as text that ends where the model's turn begins: see `encode_turns`."""
    if chat:
        return render_chat(tokenizer, [{"role": role, "content": said.strip()} for role, said in messages])
    said = [text for _, text in messages]
    if tuple(messages) != alternate(said) or len(said) % 2 == 0:
        raise InputError("this model has no chat template: ask it with messages of user and assistant in turn")
    blocks = [f"Question: {asked}\nAnswer: {answer}" for asked, answer in zip(said[::2], said[1::2], strict=False)]
    return "\n\n".join([*blocks, f"Question: {said[-1]}\nAnswer:"])


def begin_turn(tokenizer: Any, said: str, begun: str) -> str:
    """The prompt in which the model has begun its turn with some words; without a chat template these are a line more.

    Raises what `render_chat` raises.
    """
    if not tokenizer.chat_template:
        return f"{said}\n{begun}"
    return render_chat(tokenizer, [{"role": "user", "content": said}]) + begun


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
