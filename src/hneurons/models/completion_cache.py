"""Completions of an endpoint, kept on disk so that none is paid for twice."""

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any, NamedTuple

from hneurons.core.errors import ArtifactError, StorageError
from hneurons.core.types import FinishReason


class Completion(NamedTuple):
    """What came back. `logprobs` (natural log, one a token) is empty where the server gives none.

    - `entropies`: in nats, one a token, from the likeliest tokens that the server names; the rest counts as one token.
      So each is a lower bound of the entropy over the vocabulary. Empty where the server names none.
    - `token_texts`: the text of each token. Empty where the server does not tell it.
    """

    text: str
    finish_reason: FinishReason
    logprobs: tuple[float, ...]
    prompt_tokens: int
    completion_tokens: int
    entropies: tuple[float, ...] = ()
    token_texts: tuple[str, ...] = ()


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
        text, finish_reason, logprobs, prompt_tokens, completion_tokens, *rest = json.loads(row[0])
        told: list[tuple[Any, ...]] = [tuple(part) for part in rest]  # nothing in caches of earlier versions
        return Completion(text, finish_reason, tuple(logprobs), prompt_tokens, completion_tokens, *told)

    def put(self, key: str, completion: Completion) -> None:
        try:
            with self._lock:
                self._database.execute(
                    "INSERT OR REPLACE INTO completions VALUES (?, ?)", (key, json.dumps(completion))
                )
        except sqlite3.OperationalError as error:
            raise StorageError(f"could not write to the cache {self.path} ({error}): free some space") from error
