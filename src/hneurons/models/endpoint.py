"""A model behind any OpenAI-compatible chat endpoint (vLLM, SGLang, llama.cpp, transformers serve, hosted ones)."""

import json
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from hneurons.core.errors import EndpointError, InputError, MissingExtraError
from hneurons.core.foreign_text import mend_characters
from hneurons.core.seeds import fingerprint
from hneurons.models.completion_cache import Completion, CompletionCache

KEY_VARIABLE = "HNEURONS_API_KEY"
_OPTIONAL = ("top_logprobs", "logprobs", "seed", "top_k", "top_p", "temperature", "max_tokens", "max_completion_tokens")
_REFUSAL = re.compile(
    r"support|unknown|unrecogni[sz]ed|unexpected|deprecated|extra|only the default|not (?:allowed|permitted|accepted)",
    re.I,
)
_LONGEST = 64 << 20  # bytes of an answer
_log = logging.getLogger(__name__)
Message = tuple[str, str]
"""(role, content); roles are system, user and assistant."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call. Equal requests to the same model share one cached completion, so samples need different seeds.

    `top_logprobs`: of how many of the likeliest tokens the probabilities are wanted at every place; needs `logprobs`.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = 0


@dataclass
class Usage:
    """What was asked of an endpoint so far: finished calls, repeated tries, answers from the cache, tokens paid for."""

    calls: int = 0
    retries: int = 0
    cache_hits: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Endpoint:
    """A chat model at `url` (the part before /chat/completions, such as http://localhost:8000/v1).

    At most `concurrency` calls run at a time. A call is tried `retries` times more after a lost connection, status
    408, 409, 429 or 5xx, or an answer that is no completion. It waits as Retry-After says, or longer each time. A call
    that takes longer than `timeout` seconds is tried once more. All tries of a call take at most `limit` seconds.
    Optional parameters that the server does not know are left out from then on, and named in `refused`. With `cache`,
    a SQLite file, every completion is stored the moment it arrives, by address, model and request, and never paid for
    twice. The key is `api_key`, or the environment's HNEURONS_API_KEY. The attribute `url` is the address as messages
    show it, without user, password and query.

    Raises `MissingExtraError` without the package `openai`, and `InputError` for something that is no url.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        concurrency: int = 8,
        timeout: float = 120.0,
        retries: int = 5,
        limit: float = 600.0,
        cache: Path | None = None,
        api_key: str | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"an endpoint's url begins with http:// or https://, got '{redact_url(url)}'")
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("openai", "endpoint", "asking an endpoint") from error
        self.url, self.model, self.concurrency, self.retries = redact_url(url.rstrip("/")), model, concurrency, retries
        self.usage = Usage()
        self.refused: set[str] = set()
        self._address, self._timeout, self._limit = url.rstrip("/"), timeout, limit
        self._lock = threading.Lock()
        self._cache = CompletionCache(cache) if cache is not None else None
        self._key = api_key or os.environ.get(KEY_VARIABLE) or "none"
        base, _, query = self._address.partition("?")
        try:
            self._client = openai.OpenAI(
                base_url=base, default_query=dict(parse_qsl(query)), api_key=self._key, timeout=timeout, max_retries=0
            )
        except Exception as error:  # what httpx makes of a port that is none, and the like
            raise InputError(
                f"'{self.url}' is no address of an endpoint: give one like http://localhost:8000/v1"
            ) from error

    def complete(self, request: ChatRequest) -> Completion:
        """One completion. Raises `EndpointError` when the server cannot be had, or refuses."""
        asked = asdict(request)
        if not request.top_logprobs:  # as in earlier versions, whose completions are still known
            del asked["top_logprobs"]
        key = fingerprint([self._address, self.model, asked])
        if self._cache is not None and (known := self._cache.get(key)) is not None:
            with self._lock:
                self.usage.cache_hits += 1
            return known
        completion = self._ask(request)
        with self._lock:
            self.usage.calls += 1
            self.usage.prompt_tokens += completion.prompt_tokens
            self.usage.completion_tokens += completion.completion_tokens
        if self._cache is not None:
            self._cache.put(key, completion)
        return completion

    def complete_all(
        self, requests: Sequence[ChatRequest], *, on_done: Callable[[], object] = lambda: None
    ) -> list[Completion]:
        """Completions in the order of the requests. Raises the first `EndpointError`; finished calls stay cached."""
        found: list[Completion | None] = [None] * len(requests)
        with ThreadPoolExecutor(self.concurrency) as pool:
            places = {pool.submit(self.complete, request): n for n, request in enumerate(requests)}
            try:
                for future in as_completed(places):
                    found[places[future]] = future.result()
                    on_done()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [completion for completion in found if completion is not None]

    def _ask(self, request: ChatRequest) -> Completion:
        deadline = time.monotonic() + self._limit
        tries = timeouts = 0
        while True:
            tries += 1
            try:
                return self._try(request, deadline)
            except _ParameterRefusedError as refusal:
                self._do_without(refusal.name)
                tries -= 1
            except _TryAgainError as failure:
                timeouts += failure.timed_out
                wait = min(0.2 * 2**tries, 8.0) if failure.wait is None else failure.wait
                if tries > self.retries or timeouts > 1 or time.monotonic() + wait >= deadline:
                    raise EndpointError(
                        f"{self.url} {failure} after {tries} tries: see that the server runs, then run the same "
                        "command again; results so far are kept"
                    ) from failure.__cause__
                with self._lock:
                    self.usage.retries += 1
                time.sleep(wait)

    def _try(self, request: ChatRequest, deadline: float) -> Completion:
        """One call. Raises `_TryAgainError`, `_ParameterRefusedError`, and `EndpointError` for what no retry mends."""
        import httpx
        import openai

        ends = min(deadline, time.monotonic() + self._timeout)
        arguments = self._arguments(request)
        try:
            with self._client.chat.completions.with_streaming_response.create(
                **arguments, timeout=max(0.001, ends - time.monotonic())
            ) as response:
                answer = json.loads(_read_until(response.iter_bytes(), ends))
            if isinstance(answer, dict) and answer.get("error") and not answer.get("choices"):
                self._judge_refusal(_status(answer["error"]), json.dumps(answer["error"]), arguments)
            return read_completion(answer)
        except openai.AuthenticationError as error:
            raise EndpointError(f"{self.url} did not accept the key: set the variable {KEY_VARIABLE}") from error
        except openai.NotFoundError as error:
            said = self._short(error.response.text)
            raise EndpointError(
                f"{self.url} knows no model '{self.model}' or no chat completions ({said}): "
                "check the url, which usually ends in /v1, and the model's name"
            ) from error
        except openai.APIStatusError as error:
            again = _retry_after(error.response.headers)
            self._judge_refusal(error.status_code, error.response.text, arguments, wait=again)
            raise
        except (openai.APITimeoutError, TimeoutError) as error:
            raise _TryAgainError("did not answer in time", timed_out=True) from error
        except openai.APIConnectionError as error:
            raise _TryAgainError("cannot be reached") from error
        except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise _TryAgainError("gave an answer that is no chat completion") from error
        except httpx.HTTPError as error:  # while the answer is being read
            raise _TryAgainError("broke off its answer", timed_out=isinstance(error, httpx.TimeoutException)) from error

    def _judge_refusal(self, status: int, text: str, arguments: dict[str, Any], *, wait: float | None = None) -> None:
        """Always raises: whether a refusal names a parameter to leave out, is for good, or may pass."""
        if status in (408, 409, 429) or status >= 500:
            raise _TryAgainError(f"answered with status {status} ({self._short(text)})", wait=wait)
        named = next((n for n in _OPTIONAL if n in _sent(arguments) and re.search(rf"\b{n}\b", text)), None)
        # A limit on the number of likeliest tokens is worded in many ways, and an answer can do without them.
        if named == "top_logprobs" or (named is not None and _REFUSAL.search(text)):
            raise _ParameterRefusedError(named)
        raise EndpointError(f"{self.url} refused the request with status {status} ({self._short(text)})")

    def _do_without(self, parameter: str) -> None:
        with self._lock:
            known, self.refused = parameter in self.refused, self.refused | {parameter}
        if not known:
            _log.warning("%s refuses '%s' and is asked without it: its own default holds", self.url, parameter)

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in request.messages],
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_completion_tokens" if "max_tokens" in self.refused else "max_tokens": request.max_tokens,
        }
        if request.seed is not None:
            arguments["seed"] = request.seed
        if request.logprobs:
            arguments["logprobs"] = True
            if request.top_logprobs and "logprobs" not in self.refused:
                arguments["top_logprobs"] = request.top_logprobs
        if request.top_k is not None:
            arguments["extra_body"] = {"top_k": request.top_k}
        if "top_k" in self.refused:
            arguments.pop("extra_body", None)
        return {name: value for name, value in arguments.items() if name not in self.refused}

    def _short(self, text: str) -> str:
        """What a server said, short, without the key and the address should it repeat them."""
        for secret in (self._key, self._address):
            text = text.replace(secret, "…") if len(secret) > 4 else text
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= 160 else text[:160] + "…"


class _TryAgainError(Exception):
    """A call that failed in a way that may pass; `wait` in seconds where the server says."""

    def __init__(self, what: str, *, timed_out: bool = False, wait: float | None = None) -> None:
        super().__init__(what)
        self.timed_out, self.wait = timed_out, wait


class _ParameterRefusedError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _sent(arguments: dict[str, Any]) -> set[str]:
    return {*arguments, *arguments.get("extra_body", {})}


def _read_until(pieces: Iterator[bytes], ends: float) -> bytes:
    """The whole answer. Raises `TimeoutError` where it drips on past `ends`, `ValueError` where it is endless."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if time.monotonic() > ends:
            raise TimeoutError
        if len(found) > _LONGEST:
            raise ValueError(f"more than {_LONGEST} bytes")
    return bytes(found)


def _status(error: Any) -> int:
    """The status inside an error that came with status 200; 500 where it tells none."""
    told = error.get("code") or error.get("status") if isinstance(error, dict) else None
    return int(str(told)) if re.fullmatch(r"[45]\d\d", str(told)) else 500


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return min(60.0, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):  # absent, or a date
        return None


def redact_url(url: str) -> str:
    """A url without what may be secret: user, password, query and fragment."""
    scheme, mark, rest = url.partition("://")
    address = re.split(r"[?#]", rest if mark else url, maxsplit=1)[0]
    host, slash, path = address.partition("/")
    return f"{scheme}{mark}" * bool(mark) + host.rpartition("@")[2] + slash + path


def read_completion(answer: Any) -> Completion:
    """A completion out of a server's answer. Raises what indexing raises where it is none."""
    choice = answer["choices"][0]
    usage = answer.get("usage") or {}
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    logprobs = [token["logprob"] for token in tokens]
    told = all(isinstance(value, int | float) and math.isfinite(value) for value in logprobs)
    return Completion(
        text=_text(choice["message"]["content"]),
        finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
        logprobs=tuple(float(value) for value in logprobs) if told else (),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
        entropies=_entropies(tokens) if told else (),
        token_texts=_texts(tokens) if told else (),
    )


def _entropies(tokens: Sequence[Any]) -> tuple[float, ...]:
    """A lower bound of the entropy at every token, in nats; nothing where a place has no likeliest tokens.

    The probabilities are not scaled up to a sum of 1. What the named tokens leave counts as one more token, and joining
    tokens never adds entropy.
    """
    found = []
    for token in tokens:
        named = {str(one.get("token")): one.get("logprob") for one in token.get("top_logprobs") or ()}
        if not named:
            return ()
        named.setdefault(str(token.get("token")), token["logprob"])
        if not all(isinstance(value, int | float) and value <= 1e-3 for value in named.values()):
            return ()
        shares = [math.exp(value) for value in named.values()]
        shares.append(max(0.0, 1.0 - sum(shares)))
        found.append(round(-sum(share * math.log(share) for share in shares if share > 0) + 0.0, 4))
    return tuple(found)


def _texts(tokens: Sequence[Any]) -> tuple[str, ...]:
    texts = [token.get("token") for token in tokens]
    return tuple(mend_characters(text) for text in texts) if all(isinstance(text, str) for text in texts) else ()


def _text(content: Any) -> str:
    """Text that came whole, in parts, or as the number it reads like."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else part.get("text") or "" for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    elif isinstance(content, int | float):
        content = json.dumps(content)
    if not isinstance(content, str):
        raise TypeError(f"its content is {type(content).__name__}")
    return mend_characters(content)


def open_endpoint(url: str | None, model: str) -> Endpoint | None:
    """The model at an address, its completions kept in the cache folder; None without an address.

    Raises `StorageError` where the folder cannot be made.
    """
    from hneurons.core.files import storage_errors
    from hneurons.models.checkpoints import cache_folder

    if url is None:
        return None
    with storage_errors(cache_folder()):
        cache_folder().mkdir(parents=True, exist_ok=True)
    return Endpoint(url, model, cache=cache_folder() / "endpoint.sqlite")
