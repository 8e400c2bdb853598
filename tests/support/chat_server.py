"""A chat endpoint on loopback whose every answer, fault and delay the test writes itself."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Reply(NamedTuple):
    text: str = ""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    raw: str | None = None
    delay: float = 0.0
    finish_reason: str = "stop"
    logprobs: tuple[float, ...] = ()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual 5, more connections at once wait a second


class ChatServer:
    """`answer(call_number, body)` says what to reply; `bodies` and `paths` were seen, `most` calls at one time."""

    def __init__(self, answer: Callable[[int, dict[str, Any]], Reply], *, port: int = 0) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.most = self._now = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1  # one packet an answer: two would wait 40 ms for each other

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    number = len(outer.bodies)
                    outer.bodies.append(body)
                    outer.paths.append(self.path)
                    outer._now += 1
                    outer.most = max(outer.most, outer._now)
                reply = outer.answer(number, body)
                time.sleep(reply.delay)
                with outer._lock:
                    outer._now -= 1
                data = (_body(reply) if reply.raw is None else reply.raw).encode()
                try:
                    self.send_response(reply.status)
                    for name, value in (*reply.headers, ("Content-Length", str(len(data)))):
                        self.send_header(name, value)
                    self.send_header("Content-Type", "application/json")
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the client has given up waiting

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _body(reply: Reply) -> str:
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text},
        "finish_reason": reply.finish_reason,
    }
    if reply.logprobs:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": value} for value in reply.logprobs]}
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "test",
            "choices": [choice],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
    )
