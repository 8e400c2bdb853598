"""A model behind any OpenAI-compatible chat endpoint (vLLM, SGLang, llama.cpp, transformers serve, hosted ones)."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hneurons.core.errors import ArtifactError, EndpointError, InputError, MissingExtraError, StorageError
from hneurons.core.seeds import fingerprint
from hneurons.core.types import FinishReason

KEY_VARIABLE = "HNEURONS_API_KEY"
Message = tuple[str, str]
"""(role, content); roles are system, user and assistant."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call. Equal requests to the same model share one cached completion, so samples need different seeds."""

    messages: tuple[Message, ...]
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    logprobs: bool = False


class Completion(NamedTuple):
    """What came back. `logprobs` (natural log, one a token) is empty where the server gives none."""

    text: str
    finish_reason: FinishReason
    logprobs: tuple[float, ...]
    prompt_tokens: int
    completion_tokens: int


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

    At most `concurrency` calls run at a time. A call is tried `retries` times more after a lost connection, a
    time-out (`timeout`, seconds), status 408, 409, 429 or 5xx, or an answer that is no completion. It waits as
    Retry-After says, or longer each time. With `cache`, a SQLite file, every completion is stored the moment it
    arrives, by address, model and request, and never paid for twice. The key is `api_key`, or the environment's
    HNEURONS_API_KEY.

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
        cache: Path | None = None,
        api_key: str | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"an endpoint's url begins with http:// or https://, got '{url}'")
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("openai", "endpoint", "asking an endpoint") from error
        self.url, self.model, self.concurrency, self.retries = url.rstrip("/"), model, concurrency, retries
        self.usage = Usage()
        self._lock = threading.Lock()
        self._cache = CompletionCache(cache) if cache is not None else None
        self._gives_logprobs = True
        key = api_key or os.environ.get(KEY_VARIABLE) or "none"
        self._client = openai.OpenAI(base_url=self.url, api_key=key, timeout=timeout, max_retries=retries)

    def complete(self, request: ChatRequest) -> Completion:
        """One completion. Raises `EndpointError` when the server cannot be had, or refuses."""
        key = fingerprint([self.url, self.model, asdict(request)])
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
        import openai

        for attempt in range(self.retries + 1):
            arguments = self._arguments(request)
            try:
                response = self._client.chat.completions.with_raw_response.create(**arguments)
                with self._lock:
                    self.usage.retries += response.retries_taken
                return _completion(json.loads(response.text))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if "logprobs" not in arguments or "logprobs" not in error.response.text:
                    raise EndpointError(f"{self.url} refused the request ({_short(error.response.text)})") from error
                self._gives_logprobs = False
            except openai.AuthenticationError as error:
                raise EndpointError(f"{self.url} did not accept the key: set the variable {KEY_VARIABLE}") from error
            except openai.NotFoundError as error:
                raise EndpointError(
                    f"{self.url} knows no model '{self.model}' or no chat completions ({_short(error.response.text)}): "
                    "check the url, which usually ends in /v1, and the model's name"
                ) from error
            except openai.APIStatusError as error:
                raise self._lost(f"answered with status {error.status_code}") from error
            except openai.APITimeoutError as error:
                raise self._lost("did not answer in time") from error
            except openai.APIConnectionError as error:
                raise self._lost("cannot be reached") from error
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                if attempt == self.retries:
                    raise self._lost("gave an answer that is no chat completion") from error
                with self._lock:
                    self.usage.retries += 1
                time.sleep(min(0.2 * 2**attempt, 8.0))
        raise self._lost("gave no usable answer")

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.seed is not None:
            arguments["seed"] = request.seed
        if request.logprobs and self._gives_logprobs:
            arguments["logprobs"] = True
        if request.top_k is not None:
            arguments["extra_body"] = {"top_k": request.top_k}
        return arguments

    def _lost(self, what: str) -> EndpointError:
        return EndpointError(
            f"{self.url} {what} after {self.retries + 1} tries: see that the server runs, then run the same command "
            "again; results so far are kept"
        )


def _completion(answer: dict[str, Any]) -> Completion:
    choice = answer["choices"][0]
    usage = answer.get("usage") or {}
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    return Completion(
        text=choice["message"]["content"] or "",
        finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
        logprobs=tuple(float(token["logprob"]) for token in tokens),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 160 else text[:160] + "…"


class CompletionCache:
    """Completions by content in one SQLite file, safe to kill at any moment and to share between threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, check_same_thread=False, timeout=60, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except sqlite3.OperationalError as error:
            raise StorageError(f"could not open the cache {path} ({error}): choose another file") from error
        except sqlite3.DatabaseError as error:
            raise ArtifactError(
                f"{path} is no cache of completions ({error}): delete it or choose another file"
            ) from error
        except OSError as error:
            raise StorageError(f"could not make the folder of {path}: {error.strerror}") from error

    def get(self, key: str) -> Completion | None:
        with self._lock:
            row = self._database.execute("SELECT value FROM completions WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        text, finish_reason, logprobs, prompt_tokens, completion_tokens = json.loads(row[0])
        return Completion(text, finish_reason, tuple(logprobs), prompt_tokens, completion_tokens)

    def put(self, key: str, completion: Completion) -> None:
        try:
            with self._lock:
                self._database.execute(
                    "INSERT OR REPLACE INTO completions VALUES (?, ?)", (key, json.dumps(completion))
                )
        except sqlite3.OperationalError as error:
            raise StorageError(f"could not write to the cache {self.path} ({error}): free some space") from error


def open_endpoint(url: str | None, model: str) -> Endpoint | None:
    """The model at an address, its completions kept in the cache folder; None without an address.

    Raises `StorageError` where the folder cannot be made.
    """
    from hneurons.core.artifacts import storage_errors
    from hneurons.models.checkpoints import cache_folder

    if url is None:
        return None
    with storage_errors(cache_folder()):
        cache_folder().mkdir(parents=True, exist_ok=True)
    return Endpoint(url, model, cache=cache_folder() / "endpoint.sqlite")
