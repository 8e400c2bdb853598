"""What a prompt must hold before anything is measured: templates and tokenizers that lose it do so without a word."""

from collections.abc import Callable, Sequence
from typing import Any

from hneurons.core.errors import InputError

_REMEDY = "mend chat_template in its tokenizer's files, or use the base format"


def check_templates(tokenizer: Any) -> None:
    """Raise `InputError` where there are several chat templates and none is the default."""
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and templates and "default" not in templates:
        raise InputError(
            f"this model has several chat templates ({', '.join(sorted(templates))}) and none is named 'default': "
            "name the one to use so in its tokenizer's files"
        )


def check_turns(text: str, messages: Sequence[dict[str, str]]) -> None:
    """Raise `InputError` where what the user says is not in the rendered chat. White space may differ."""
    plain = _plain(text)
    for turn in messages:
        if turn["role"] == "user" and _plain(turn["content"]) not in plain:
            raise InputError(
                f"this model's chat template does not write what the user says ({turn['content'][:40]!r} is not in "
                f"its {len(text)} characters): {_REMEDY}"
            )


def check_end(text: str, tokenizer: Any) -> None:
    """Raise `InputError` where a rendered chat is closed before the model speaks."""
    if tokenizer.eos_token and text.rstrip().endswith(tokenizer.eos_token):
        raise InputError(
            f"this model's chat template ends with {tokenizer.eos_token!r} where the model's turn should begin: "
            f"{_REMEDY}"
        )


def check_ids(ids: Sequence[int], tokenizer: Any) -> None:
    """Raise `InputError` for a prompt of no tokens, with an end token at its end or two start tokens before it."""
    if not ids:
        raise InputError("this model's tokenizer makes no token of a prompt: load its own tokenizer")
    if ids[-1] == tokenizer.eos_token_id:
        raise InputError(
            f"this model's tokenizer ends a prompt with {tokenizer.eos_token!r}, after which nothing is said: "
            "set add_eos_token to false in its tokenizer_config.json"
        )
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        raise InputError(
            f"a prompt begins with two start tokens ({tokenizer.bos_token!r}): this model's template and tokenizer "
            "both add one; set add_bos_token to false in its tokenizer_config.json"
        )


def check_distinct(encode: Callable[[str], Sequence[int]]) -> None:
    """Raise `InputError` where two questions make one prompt."""
    if list(encode("What is the capital of France?")) == list(encode("Who wrote the play Hamlet?")):
        raise InputError("two questions give the same prompt: this model's tokenizer does not know their words")


def _plain(text: str) -> str:
    return " ".join(text.split())
