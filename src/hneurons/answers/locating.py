"""Stage `locate`: examples -> examples with the characters and tokens of their answer, by a registered finder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hneurons.answers import spans
from hneurons.answers.judges.reasoning import cut_reasoning
from hneurons.answers.selection import Examples
from hneurons.answers.spans import find_answer
from hneurons.answers.token_offsets import Encoded, encode_text, own_offsets, text_offsets, token_span
from hneurons.core.artifacts import RowStore
from hneurons.core.errors import InputError
from hneurons.core.progress import progress
from hneurons.core.registry import Registry
from hneurons.core.seeds import fingerprint
from hneurons.core.types import Example, Response, Span, identify
from hneurons.models.checkpoints import tokenizer_hash
from hneurons.models.endpoint import ChatRequest, Endpoint, Message

STAGE = "spans"
NAMED = 20
"""Ids of responses that a summary names; more are counted."""


class Finder:
    """A way to find answers, registered by name as a class; the docstring's first line is shown to users.

    A finder may look at the question's text and the response, never at the known answers or the verdict. `version`
    changes whenever a span may; `chunk` examples are committed together.
    """

    version: int
    chunk: int
    needs_endpoint = False

    @staticmethod
    def find(examples: Sequence[Example], endpoint: Endpoint | None) -> list[Span | None]:
        """A character span, or None, for each example in order."""
        raise NotImplementedError


FINDERS: Registry[type[Finder]] = Registry("finder", base=Finder)

_EXTRACT = """Question: {question}
Response: {response}
Copy from the response the shortest stretch of words that answers the question, whether or not it is right. Change no \
letter of it, add nothing, no quotation marks. If the response gives no answer, write NONE."""


def extraction_prompt(question: str, response: str) -> tuple[Message, ...]:
    """What the `llm` finder asks about one response (the paper's way; the words are ours)."""
    return (("user", _EXTRACT.format(question=question, response=cut_reasoning(response).text)),)


def find_extract(text: str, said: str) -> Span | None:
    """Where what an extracting model said stands, letter for letter, in the response; None where it does not.

    Only white space, quotation marks and a full stop around it are forgiven. Of several places the first counts.
    """
    said, answer = cut_reasoning(said).text.strip(), cut_reasoning(text).start
    for extract in (said, said.strip("\"'“”‘’`* "), said.strip("\"'“”‘’`*. ")):
        start = text.find(extract, answer) if extract and extract.upper() != "NONE" else -1
        if start >= 0:
            return start, start + len(extract)
    return None


@FINDERS.register("response")
class ResponseFinder(Finder):
    """Cuts the short answer out of the response by rules: no lead-in, no restated question, first clause."""

    version, chunk = spans.VERSION, 512

    @staticmethod
    def find(examples: Sequence[Example], endpoint: Endpoint | None) -> list[Span | None]:
        return [find_answer(example.response.text, question=example.question.text) for example in examples]


@FINDERS.register("llm")
class LLMFinder(Finder):
    """Asks a model at an OpenAI-compatible endpoint to copy the answer out of the response, as the paper does."""

    version, chunk, needs_endpoint = 2, 32, True

    @staticmethod
    def find(examples: Sequence[Example], endpoint: Endpoint | None) -> list[Span | None]:
        assert endpoint is not None
        requests = [ChatRequest(extraction_prompt(e.question.text, e.response.text), max_tokens=64) for e in examples]
        completions = endpoint.complete_all(requests)
        return [
            find_extract(example.response.text, completion.text)
            for example, completion in zip(examples, completions, strict=True)
        ]


def locate_answers(
    examples: Sequence[Example],
    *,
    tokenizer: Any,
    finder: str = "response",
    endpoint: Endpoint | None = None,
    out: Path | None = None,
) -> Examples:
    """Give each example the span of its answer in characters and in tokens; both None where none is found.

    `tokenizer` is that of the model that wrote the responses. Responses without token ids, as endpoints give them, are
    encoded with it; a text that it cannot encode gets no span, nor does one whose token ids say something else. The
    summary counts found and not found per class, and responses encoded and not encoded here, and names the first whose
    token ids say something else. Resumable with `out`.

    Raises:

    - `InputError` for an unknown finder, a finder without the endpoint it needs, or token ids that are all of another
      tokenizer;
    - `EndpointError` when the endpoint is lost, with all finished chunks kept.
    """
    how = FINDERS.get(finder)
    if how.needs_endpoint and endpoint is None:
        raise InputError(f"the finder '{finder}' needs an endpoint: give its url and model")
    settings = {
        "finder": finder,
        "version": how.version,
        "model": endpoint.model if endpoint is not None and how.needs_endpoint else None,
        "tokenizer": tokenizer_hash(tokenizer),
    }
    inputs, earlier = {"examples": identify(examples)}, {"examples": fingerprint([e.to_row() for e in examples])}
    chunks = range(0, len(examples), how.chunk)
    store = RowStore(out, stage=STAGE, settings=settings, inputs=inputs, expected=len(chunks), earlier_inputs=earlier)
    if not store.complete:
        with progress("locate", len(examples), done=len(store.rows)) as advance:
            for start in chunks[store.done :]:
                part = examples[start : start + how.chunk]
                found = zip(part, how.find(part, endpoint), strict=True)
                store.commit([_place(example, span, tokenizer).to_row() for example, span in found])
                advance(len(part))
        located = [Example.from_row(row) for row in store.rows]
        store.finish(_summary(examples, located, _check_tokens(located, tokenizer)))
    return Examples([Example.from_row(row) for row in store.rows], store.manifest.summary)


def _place(example: Example, char_span: Span | None, tokenizer: Any) -> Example:
    response: Response = example.response
    if response.token_ids or not response.text:
        offsets = (own_offsets(tokenizer, response.token_ids, response.text) if char_span else None) or []
    else:
        encoded = encode_text(tokenizer, response.text)
        if encoded is None:
            return replace(example, char_span=char_span, token_span=None)
        response, offsets = encode_response(response, encoded), encoded.offsets
    place = None if char_span is None else token_span(offsets, char_span)
    return replace(example, response=response, char_span=char_span, token_span=place)


def encode_response(response: Response, encoded: Encoded) -> Response:
    """The response with token ids.

    Log-probabilities and entropies are kept where the endpoint's tokens, as it wrote them, are cut at the same
    characters. Otherwise they are let go of.
    """
    texts = response.token_texts
    places = text_offsets(texts, response.text) if len(texts) == len(response.logprobs) else []
    inside = [n for n, (start, end) in enumerate(places) if start < end]
    same = [places[n] for n in inside] == encoded.offsets

    def keep(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(values[n] for n in inside) if same and len(values) == len(texts) else ()

    logprobs, entropies = keep(response.logprobs), keep(response.entropies)
    return replace(response, token_ids=encoded.ids, token_texts=(), logprobs=logprobs, entropies=entropies)


def _check_tokens(located: Sequence[Example], tokenizer: Any) -> list[str]:
    """The ids of responses whose token ids say something else. Raises `InputError` where those of all do."""
    with_ids = [e for e in located if e.response.token_ids and e.char_span is not None]
    unplaced = [e.response for e in with_ids if e.token_span is None]
    wrong = [r for r in unplaced if own_offsets(tokenizer, r.token_ids, r.text) is None]
    if wrong and len(wrong) == len(with_ids):
        first = wrong[0]
        raise InputError(
            f"the token ids of {first.id} decode to something else than {first.text[:40]!r}, as do those of all "
            "responses: use the tokenizer of the model that wrote them, or leave the token ids out"
        )
    return [response.id for response in wrong]


def _summary(given: Sequence[Example], located: Sequence[Example], other_tokens: Sequence[str]) -> dict[str, Any]:
    classes = {True: "wrong", False: "right"}
    found = Counter(classes[example.hallucinated] for example in located if example.token_span is not None)
    total = Counter(classes[example.hallucinated] for example in located)
    encoded = sum(not a.response.token_ids and bool(b.response.token_ids) for a, b in zip(given, located, strict=True))
    kept = sum(not a.response.token_ids and bool(b.response.logprobs) for a, b in zip(given, located, strict=True))
    lost = {"other_tokens": {"responses": len(other_tokens), "first": other_tokens[:NAMED]}} if other_tokens else {}
    return {
        "examples": len(located),
        "found": {name: found[name] for name in ("right", "wrong")},
        "not_found": {name: total[name] - found[name] for name in ("right", "wrong")},
        "encoded_here": encoded,
        **({"logprobs_kept": kept} if kept else {}),
        "not_encoded": sum(bool(example.response.text) and not example.response.token_ids for example in located),
        **lost,
    }
