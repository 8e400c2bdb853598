"""Stage `sample` for a model behind an endpoint: questions -> responses as text, without token ids."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hneurons.answers.responses import STAGE, Responses, group_by_question
from hneurons.core.artifacts import RowStore
from hneurons.core.errors import InputError, NotEnoughDataError
from hneurons.core.progress import progress
from hneurons.core.seeds import derive_seed, fingerprint
from hneurons.core.types import Question, Response
from hneurons.models.endpoint import ChatRequest, Endpoint, Message
from hneurons.models.prompts import PromptStyle

CHUNK = 16  # questions committed together
MANY = 8  # so many questions whose samples are all the same are no accident
_log = logging.getLogger(__name__)


def sample_endpoint(
    questions: Sequence[Question],
    endpoint: Endpoint,
    *,
    n: int = 10,
    temperature: float = 1.0,
    top_p: float = 0.9,
    top_k: int | None = None,
    max_tokens: int = 50,
    seed: int = 0,
    style: PromptStyle | None = None,
    out: Path | None = None,
) -> Responses:
    """Draw `n` responses a question from an endpoint (arXiv 2512.01797, section 2.1). Resumable with `out`.

    `top_k` is sent only where given: it is no part of the OpenAI interface, though vLLM, SGLang and llama.cpp take it.
    Each sample has a seed of its own, from (seed, question id, sample). Whether the server honours temperature and seed
    is up to it: the summary counts questions whose samples are all `identical`, with a warning where all are. Token ids
    are empty; `logprobs` are there where the server gives them.

    Raises `InputError`, `NotEnoughDataError` without questions, and `EndpointError` when the endpoint is lost, with
    all finished chunks kept.
    """
    style = style or PromptStyle()
    if n < 1:
        raise InputError(f"at least one sample a question is needed, got n = {n}")
    if style.chat is False:
        raise InputError("an endpoint applies the model's own chat template: the base format is for local models")
    if not questions:
        raise NotEnoughDataError("there are no questions to ask: give a question set that is not empty")
    settings = {
        "model": endpoint.model,
        "sampling": {
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "max_tokens": max_tokens,
            "seed": seed,
        },
        "style": style.to_row(),
        "n": n,
    }
    inputs = {"questions": fingerprint([question.to_row() for question in questions])}
    chunks = range(0, len(questions), CHUNK)
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks))
    if not store.complete:
        with progress("sample", len(questions), done=len(store.rows) // n, unit="questions") as advance:
            for start in chunks[store.done :]:
                part = questions[start : start + CHUNK]
                pairs = [(question, sample) for question in part for sample in range(n)]
                requests = [
                    ChatRequest(
                        chat_messages(question.text, style),
                        max_tokens=max_tokens,
                        temperature=temperature,
                        top_p=top_p,
                        top_k=top_k,
                        seed=derive_seed("endpoint", seed, question.id, sample) % 2**31,
                        logprobs=True,
                    )
                    for question, sample in pairs
                ]
                completions = endpoint.complete_all(requests)
                store.commit(
                    [
                        Response(
                            question.id,
                            sample,
                            completion.text.strip(),
                            logprobs=completion.logprobs,
                            finish_reason=completion.finish_reason,
                        ).to_row()
                        for (question, sample), completion in zip(pairs, completions, strict=True)
                    ]
                )
                advance(len(part))
        store.finish(_summary(questions, [Response.from_row(row) for row in store.rows]))
    if temperature > 0 and n > 1 and store.manifest.summary["identical"] == len(questions) >= MANY:
        _log.warning(
            "all %d samples of each of %d questions are the same: %s seems to ignore the temperature "
            "(transformers serve does where the model's generation_config.json does not say do_sample)",
            n,
            len(questions),
            endpoint.url,
        )
    return Responses([Response.from_row(row) for row in store.rows], style, store.manifest.summary)


def chat_messages(question: str, style: PromptStyle) -> tuple[Message, ...]:
    """The conversation that ends with the question, shots as earlier turns."""
    messages: list[Message] = []
    for shot, answer in style.shots:
        messages += [("user", f"{shot} {style.instruction}".strip()), ("assistant", answer.strip())]
    return (*messages, ("user", f"{question} {style.instruction}".strip()))


def _summary(questions: Sequence[Question], responses: Sequence[Response]) -> dict[str, Any]:
    return {
        "questions": len(questions),
        "asked": len(questions),
        "responses": len(responses),
        "truncated": sum(response.finish_reason == "length" for response in responses),
        "identical": sum(len({r.text for r in drawn}) == 1 for drawn in group_by_question(responses).values()),
        "with_logprobs": sum(bool(response.logprobs) for response in responses),
    }
