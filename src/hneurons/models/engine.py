"""What answers questions: a local model, an endpoint, or replies recorded earlier, all asked in the same way."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from hneurons.core.errors import InputError
from hneurons.core.seeds import derive_seed
from hneurons.core.types import FinishReason, Question, Response
from hneurons.models.endpoint import ChatRequest, Endpoint
from hneurons.models.language_model import LanguageModel
from hneurons.models.prefill import Prompts, prefill_shared
from hneurons.models.prompts import PromptStyle, common_prefix, question_turns
from hneurons.models.sampling import Branch, Generation, Sampling, generate

TOP_LOGPROBS = 20
"""Likeliest tokens that an endpoint is asked for at every place; most servers name no more."""


class Ask(NamedTuple):
    """One answer that is wanted: to which question, and the number of the sample, which seeds it."""

    question: Question
    sample: int


class Reply(NamedTuple):
    """One answer. All that is there for each token is empty where the engine does not give it: see `Response`."""

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason = "stop"
    entropies: tuple[float, ...] = ()
    token_texts: tuple[str, ...] = ()

    def to_response(self, ask: Ask) -> Response:
        return Response(ask.question.id, ask.sample, *self)


OnReply = Callable[[Ask, Reply], Iterable[Ask]]
"""Takes an answer and returns what is to be asked next because of it."""


class Answering(Protocol):
    """An engine made ready for a list of questions, a style and decoding settings."""

    def draw(self, asks: Iterable[Ask], on_reply: OnReply) -> None:
        """Answer everything in `asks`, and everything that `on_reply` then asks of the same questions, in any order."""


class Engine(Protocol):
    """A source of answers. Samples differ by (seed, question id, sample number) alone.

    Attributes:
        chunk: The number of questions whose answers are kept together.
        counts_tokens: Whether replies come with token ids.
        name: How a message calls the engine.
    """

    chunk: int
    counts_tokens: bool
    name: str

    def settings(self, sampling: Sampling) -> dict[str, Any]:
        """What the manifest records: the `model` and its `sampling`."""

    def prepare(self, questions: Sequence[Question], style: PromptStyle, sampling: Sampling) -> Answering:
        """Check all questions before any is answered. Raises `InputError` or `PromptTooLongError`."""


class LocalEngine:
    """A model in this process. At most `max_rows` answers are drawn at a time."""

    chunk = 128
    counts_tokens = True

    def __init__(self, model: LanguageModel, *, max_rows: int = 128) -> None:
        self.model, self.max_rows, self.name = model, max_rows, model.name

    def settings(self, sampling: Sampling) -> dict[str, Any]:
        return {"model": self.model.identity.to_row(), "sampling": sampling.to_row(), **self.model.dtype_setting}

    def prepare(self, questions: Sequence[Question], style: PromptStyle, sampling: Sampling) -> Answering:
        return _LocalAnswering(self, questions, style, sampling)


class _LocalAnswering:
    """All prompts in token ids, and the cache of what they begin with."""

    def __init__(
        self, engine: LocalEngine, questions: Sequence[Question], style: PromptStyle, sampling: Sampling
    ) -> None:
        self.model, self.max_rows, self.sampling = engine.model, engine.max_rows, sampling
        self.stops = self.model.stops(style)
        self.ids = {q.id: self.model.encode(q.text, style, room=sampling.max_new_tokens) for q in questions}
        self.prefix = common_prefix(list(self.ids.values()))
        self.prefix_cache = prefill_shared(self.model, self.prefix)

    def draw(self, asks: Iterable[Ask], on_reply: OnReply) -> None:
        wanted = list(asks)
        questions = {ask.question.id: ask.question for ask in wanted}
        places = {question_id: place for place, question_id in enumerate(questions)}
        prompts = [self.ids[question_id] for question_id in questions]
        ready = Prompts(self.model, prompts, self.prefix, self.prefix_cache, self.sampling.top_k)

        def branch(ask: Ask) -> Branch:
            return Branch(places[ask.question.id], (ask.question.id, ask.sample))

        def on_done(done: Branch, drawn: Generation) -> list[Branch]:
            question_id, sample = done.seed_parts
            text = decode_answer(self.model, drawn.token_ids, self.stops)
            reply = Reply(text, drawn.token_ids, drawn.logprobs, drawn.finish_reason, drawn.entropies)
            return [branch(ask) for ask in on_reply(Ask(questions[str(question_id)], int(sample)), reply)]

        first = [branch(ask) for ask in wanted]
        generate(self.model, ready, first, self.sampling, self.stops, on_done=on_done, max_rows=self.max_rows)


class EndpointEngine:
    """A chat model behind an endpoint, which applies its own chat template.

    `top_k` is sent only where the sampling has one: it is not part of the OpenAI interface, though vLLM, SGLang and
    llama.cpp take it. Whether the server honours temperature and seed is up to it.
    """

    chunk = 16
    counts_tokens = False

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self.name = endpoint, endpoint.url

    def settings(self, sampling: Sampling) -> dict[str, Any]:
        row = sampling.to_row()
        return {"model": self.endpoint.model, "sampling": {"max_tokens": row.pop("max_new_tokens"), **row}}

    def prepare(self, questions: Sequence[Question], style: PromptStyle, sampling: Sampling) -> Answering:
        if style.chat is False:
            raise InputError("an endpoint applies the model's own chat template: the base format is for local models")
        return _EndpointAnswering(self.endpoint, style, sampling)


class _EndpointAnswering(NamedTuple):
    endpoint: Endpoint
    style: PromptStyle
    sampling: Sampling

    def draw(self, asks: Iterable[Ask], on_reply: OnReply) -> None:
        waiting = list(asks)
        while waiting:
            replies = self.endpoint.complete_all([self._request(ask) for ask in waiting])
            following: list[Ask] = []
            for ask, found in zip(waiting, replies, strict=True):
                reply = Reply(
                    found.text.strip(),
                    logprobs=found.logprobs,
                    finish_reason=found.finish_reason,
                    entropies=found.entropies,
                    token_texts=found.token_texts,
                )
                following += on_reply(ask, reply)
            waiting = following

    def _request(self, ask: Ask) -> ChatRequest:
        sampling = self.sampling
        return ChatRequest(
            question_turns(ask.question.text, self.style),
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=derive_seed("endpoint", sampling.seed, ask.question.id, ask.sample) % 2**31,
            logprobs=True,
            top_logprobs=TOP_LOGPROBS,
        )


class RecordedEngine:
    """Answers drawn earlier, by (question id, sample): what another judge or stopping rule would have asked for.

    `settings` are those of the stage that drew them. What is not recorded is asked of `missing`, the engine that drew
    the record; without one it raises `InputError`.
    """

    chunk = 128

    def __init__(
        self,
        responses: Iterable[Response],
        settings: Mapping[str, Any],
        *,
        name: str = "the record",
        missing: Engine | None = None,
    ) -> None:
        self.replies = {(r.question_id, r.sample): r for r in responses}
        self.recorded, self.missing, self.name = settings, missing, name
        self.counts_tokens = any(r.token_ids for r in self.replies.values())
        if missing is not None:
            self.chunk, self.counts_tokens = missing.chunk, missing.counts_tokens

    def settings(self, sampling: Sampling) -> dict[str, Any]:
        if self.missing is not None:
            return self.missing.settings(sampling)
        return {name: self.recorded[name] for name in ("model", "sampling", "dtype") if name in self.recorded}

    def prepare(self, questions: Sequence[Question], style: PromptStyle, sampling: Sampling) -> Answering:
        return _RecordedAnswering(self, questions, style, sampling)


class _RecordedAnswering:
    """Answers from the record. The engine behind it is made ready when the first answer is missing."""

    def __init__(
        self, engine: RecordedEngine, questions: Sequence[Question], style: PromptStyle, sampling: Sampling
    ) -> None:
        self.engine, self.prepared = engine, (questions, style, sampling)

    @cached_property
    def missing(self) -> Answering:
        assert self.engine.missing is not None
        return self.engine.missing.prepare(*self.prepared)

    def draw(self, asks: Iterable[Ask], on_reply: OnReply) -> None:
        unknown = self._answer(asks, on_reply)
        if unknown:
            self.missing.draw(unknown, lambda ask, reply: self._answer(on_reply(ask, reply), on_reply))

    def _answer(self, asks: Iterable[Ask], on_reply: OnReply) -> list[Ask]:
        """Answer what is recorded, and what that leads to. Returns what is left for the engine behind."""
        waiting, unknown = list(asks), []
        while waiting:
            ask = waiting.pop()
            found = self.engine.replies.get((ask.question.id, ask.sample))
            if found is not None:
                reply = Reply(
                    found.text, found.token_ids, found.logprobs, found.finish_reason, found.entropies, found.token_texts
                )
                waiting += on_reply(ask, reply)
            elif self.engine.missing is not None:
                unknown.append(ask)
            else:
                raise InputError(
                    f"{self.engine.name} holds no sample {ask.sample} of question {ask.question.id}: ask for fewer "
                    "samples, or sample from the model itself"
                )
        return unknown


def decode_answer(model: LanguageModel, token_ids: Sequence[int], stops: frozenset[int]) -> str:
    """Text of generated ids without the stop token, stripped; for base models what precedes the line break."""
    ids = list(token_ids)
    if ids and ids[-1] in model.stop_ids:
        ids.pop()
    text = str(model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    if stops - model.stop_ids:
        text = text.split("\n", 1)[0]
    return text.strip()
