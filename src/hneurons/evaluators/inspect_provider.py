"""A local model with scaled neurons as an Inspect provider; requests that arrive together share batches."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from hneurons.core.errors import InputError, PromptTooLongError
from hneurons.core.seeds import fingerprint
from hneurons.evaluators.steering import check_count, loading_errors, read_steering

if TYPE_CHECKING:
    from hneurons.interventions.intervention import Intervention
    from hneurons.models.sampling import Branch, Generation, Sampling

UNSCALED = {"scaled": False}
"""As a request's `extra_body`: the plain model answers."""
_GATHER = 0.05  # seconds in which requests that belong together arrive
_MAX_TOKENS = 512
_UNSUPPORTED = (
    "stop_seqs", "num_choices", "best_of", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs",
    "top_logprobs", "prompt_logprobs", "response_schema", "modalities", "verbosity", "effort", "reasoning_effort",
    "reasoning_mode", "reasoning_tokens",
)  # fmt: skip
"""Options that would change the reply. Others that are not read here are about connections, tools and the log."""
_CHANGES_NOTHING = {"num_choices": 1, "best_of": 1, "reasoning_effort": "none", "reasoning_mode": "standard"}


@dataclass
class _Request:
    """What is asked, and in the end what was drawn or what went wrong."""

    ids: list[int]
    sampling: "Sampling"
    seed_parts: tuple[str | int, ...]
    scaled: bool
    drawn: "Generation | None" = None
    failed: Exception | None = None

    @property
    def done(self) -> bool:
        return self.drawn is not None or self.failed is not None


class HNeuronsAPI(ModelAPI):
    """The provider `hneurons/MODEL`, with MODEL as `load_model` takes it.

    Model arguments (`-M` on the command line): neurons, alpha (see `read_steering`), dtype, device, max_rows (sequences
    that run at a time). From Python, `intervention` takes any `Intervention` in place of neurons and alpha. Prompts and
    replies are both run under it. Options of decoding that a request leaves out are those of `Sampling`, with at most
    512 new tokens. A request with a seed draws by the seed alone, one without by its prompt and how often it was asked
    before. `ModelOutput.metadata` says how a reply was changed.

    Raises `PromptTooLongError`, and `InputError` for:

    - other arguments, a model that cannot be loaded, and neurons of another model;
    - options of decoding that are not supported, here or in requests;
    - tools and images in requests.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),
        *,
        neurons: str | None = None,
        alpha: float | None = None,
        intervention: "Intervention | None" = None,
        dtype: str = "auto",
        device: str | None = None,
        max_rows: int = 64,
        **unknown: object,
    ) -> None:
        from hneurons.interventions.intervention import Untouched
        from hneurons.interventions.steering import Steer
        from hneurons.models.language_model import load_model
        from hneurons.models.precision import choose_dtype
        from hneurons.models.prompts import PromptStyle

        super().__init__(model_name, base_url, api_key, [], config)
        if unknown:
            known = "neurons, alpha, dtype, device, max_rows"
            raise InputError(f"unknown model argument '{next(iter(unknown))}': known are {known}")
        dtype = choose_dtype(dtype, device)
        check_count("max_rows", max_rows)
        sampling = _read_sampling(config)
        steered = read_steering(neurons, alpha, intervention)
        with loading_errors(model_name):
            self.model = load_model(model_name, dtype=dtype, device=device)  # type: ignore[arg-type]
        if config.max_tokens is not None:
            self._check_room(0, sampling)
        self.stops = self.model.stops(PromptStyle())
        self.max_rows = max_rows
        self.steering: Steer | None = None
        self.no_op = 1.0 if steered is None else steered.intervention.no_op
        self.about: dict[str, Any] = {"alpha": 1.0, "neurons": None, "n_neurons": 0}
        if steered is not None:
            # The first condition is the plain model, for requests that ask for it.
            self.steering = Steer(self.model, [Untouched(), steered.intervention])
            self.about = steered.about
            changed = self.about.get("neurons") or self.about["intervention"]
            # Inspect's cache of replies knows no other model argument: without this all alphas would share replies.
            self.base_url = f"neurons:{changed}?alpha={steered.intervention.alpha:g}&dtype={dtype}"
        self._waiting: list[_Request] = []
        self._asked: Counter[str] = Counter()
        self._turn = anyio.Lock()

    def max_tokens(self) -> int | None:
        """New tokens where a request sets no limit."""
        return _MAX_TOKENS

    def max_connections(self) -> int:
        """Requests at a time: as many as run in one batch."""
        return self.max_rows

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Wait for the batch before, take all that came meanwhile into the next one, and return this one's reply."""
        started, request = time.monotonic(), self._read(input, tools, config)
        self._waiting.append(request)
        try:
            async with self._turn:
                if not request.done:
                    await anyio.sleep(_GATHER)
                    batch, self._waiting = self._waiting, []
                    await anyio.to_thread.run_sync(self._run, batch)
        finally:
            if request in self._waiting:  # cancelled before its batch began
                self._waiting.remove(request)
        if request.drawn is None:
            raise request.failed or RuntimeError("the request was lost")
        return self._output(request, request.drawn, time.monotonic() - started)

    def _read(self, messages: list[ChatMessage], tools: list[ToolInfo], config: GenerateConfig) -> _Request:
        if tools:
            raise InputError("the provider hneurons supports no tools: leave it out")
        sampling, ids = _read_sampling(config), self._encode(messages)
        self._check_room(len(ids), sampling)
        scaled = self.steering is not None and (config.extra_body or {}) != UNSCALED
        return _Request(ids, sampling, self._seed_parts(ids, config.seed), scaled)

    def _check_room(self, prompt: int, sampling: "Sampling") -> None:
        if prompt + sampling.max_new_tokens > self.model.window:
            raise PromptTooLongError(
                f"a prompt takes {prompt} tokens and {sampling.max_new_tokens} more are to be generated, but the "
                f"window of {self.model.name} holds {self.model.window}: leave the sample out or lower --max-tokens"
            )

    def _seed_parts(self, ids: list[int], seed: int | None) -> tuple[str | int, ...]:
        if seed is not None:
            return (seed,)
        prompt = fingerprint(ids)
        self._asked[prompt] += 1
        return (prompt, self._asked[prompt])

    def _encode(self, messages: list[ChatMessage]) -> list[int]:
        """Ids of the conversation, as benchmarks ask it."""
        from hneurons.models.prompts import encode_turns

        return encode_turns(self.model.tokenizer, [(message.role, _text(message)) for message in messages])

    def _run(self, batch: Sequence[_Request]) -> None:
        """Draw every request; those with equal decoding share batches. Failures belong to the requests."""
        alike: dict[Sampling, list[_Request]] = defaultdict(list)
        for request in batch:
            alike[request.sampling].append(request)
        for sampling, requests in alike.items():
            try:
                self._draw(sampling, requests)
            except Exception as error:  # raised again where each request waits
                for request in requests:
                    request.failed = error

    def _draw(self, sampling: "Sampling", requests: Sequence[_Request]) -> None:
        from contextlib import nullcontext

        from hneurons.models.drawing import draw_steered
        from hneurons.models.sampling import Branch

        prompts = [request.ids for request in requests]
        branches = [Branch(n, request.seed_parts, int(request.scaled)) for n, request in enumerate(requests)]

        def keep(branch: "Branch", drawn: "Generation") -> tuple["Branch", ...]:
            requests[branch.prompt].drawn = drawn
            return ()

        with self.steering or nullcontext():
            draw_steered(
                self.model, prompts, branches, sampling, self.stops, on_done=keep, steering=self.steering,
                conditions=1 if self.steering is None else 2, max_rows=self.max_rows,
            )  # fmt: skip

    def _output(self, request: _Request, drawn: "Generation", seconds: float) -> ModelOutput:
        from hneurons.models.engine import decode_answer

        text = decode_answer(self.model, drawn.token_ids, self.stops)
        message = ChatMessageAssistant(content=text, model=self.model_name, source="generate")
        reason: StopReason = "stop" if drawn.finish_reason == "stop" else "max_tokens"
        asked, said = len(request.ids), len(drawn.token_ids)
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason=reason)],
            usage=ModelUsage(input_tokens=asked, output_tokens=said, total_tokens=asked + said),
            time=seconds,
            metadata={**self.about, "alpha": self.about["alpha"] if request.scaled else self.no_op},
        )


def _read_sampling(config: GenerateConfig) -> "Sampling":
    """How to decode. Raises `InputError` for options out of range and for those a reply would wrongly leave out."""
    from hneurons.models.sampling import Sampling

    others = {name: getattr(config, name, None) for name in _UNSUPPORTED}
    others["extra_body"] = None if config.extra_body == UNSCALED else config.extra_body
    asked = [name for name, value in others.items() if value and value != _CHANGES_NOTHING.get(name)]
    if asked:
        raise InputError(f"the provider hneurons supports no {asked[0]}: leave it out")
    given = {
        "temperature": config.temperature,
        "top_k": 1 if config.temperature == 0 else config.top_k,
        "top_p": config.top_p,
        "max_new_tokens": _MAX_TOKENS if config.max_tokens is None else config.max_tokens,
    }
    return Sampling(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _text(message: ChatMessage) -> str:
    """The message's text. Raises `InputError` where it holds anything else."""
    if message.role == "tool" or not (
        isinstance(message.content, str) or {c.type for c in message.content} <= {"text"}
    ):
        raise InputError("the provider hneurons takes text only: no tools, images or reasoning in messages")
    return str(message.text).strip()
