"""A Hugging Face Hub in small: one server in this process that takes commits and gives files, for the real client."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What the server holds: files by repository, and which of them are private."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.url = ""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path).path.strip("/").split("/")
            if parts[:3] == ["api", "repos", "create"]:
                row = json.loads(body)
                name = f"{row.get('organization') or 'owner'}/{row['name']}"
                hub.files.setdefault(name, {})
                hub.private[name] = row.get("private") or row.get("visibility") == "private"
                return self.answer({"url": f"{hub.url}/{name}", "name": name, "id": name})
            if parts[:2] == ["api", "validate-yaml"]:
                return self.answer({"errors": [], "warnings": []})
            repo = "/".join(parts[2:4])
            if repo not in hub.files:
                return self.answer({"error": "Repository not found"}, 404)
            if parts[4] == "preupload":
                asked = json.loads(body)["files"]
                modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
                return self.answer({"files": modes})
            for line in body.decode().splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    hub.files[repo][item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            return self.answer({"commitUrl": f"{hub.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

        def do_GET(self) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            repo = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
            files = hub.files.get(repo)
            if files is None:
                return self.answer({"error": "Repository not found"}, 404, **{"X-Error-Code": "RepoNotFound"})
            if parts[0] != "api":
                return self.send_file(files.get("/".join(parts[4:])))
            if parts[4:5] == ["tree"]:
                rows = [{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in files.items()]
                return self.answer(rows)
            names = [{"rfilename": name} for name in files]
            return self.answer({"id": repo, "sha": COMMIT, "siblings": names, "private": hub.private[repo], "tags": []})

        do_HEAD = do_GET

        def send_file(self, content: bytes | None) -> None:
            if content is None:
                return self.answer({"error": "Entry not found"}, 404, **{"X-Error-Code": "EntryNotFound"})
            self.reply(content, 200, **{"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT})

        def answer(self, row: Any, status: int = 200, **headers: str) -> None:
            self.reply(json.dumps(row).encode(), status, **{"Content-Type": "application/json"}, **headers)

        def reply(self, content: bytes, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def run_hub(monkeypatch: pytest.MonkeyPatch, cache: Any) -> Iterator[Hub]:
    """Start it, and turn the hub client of this process to it, with a cache of its own."""
    from huggingface_hub import constants

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
