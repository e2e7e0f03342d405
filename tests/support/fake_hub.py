"""A Hugging Face Hub on 127.0.0.1, as far as `huggingface_hub` 2.4 asks: models, files, and faults on demand.

    with FakeHub() as hub:
        hub.add("org/model", {"config.json": b"{}", "model.safetensors": b"..."})
        hub.point_at(monkeypatch, cache)

Endpoints and headers: https://huggingface.co/docs/hub/api and huggingface_hub/file_download.py. Xet headers
are left out, so that files come by plain HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (
    ".safetensors",
    ".gguf",
    ".bin",
    ".pth",
    ".onnx",
    ".msgpack",
    ".h5",
    "tokenizer.json",
    "tokenizer.model",
)
"""Names kept in large-file storage, which lists their SHA-256."""


@dataclass
class Repository:
    """One model repository at one commit."""

    files: dict[str, bytes]
    commit: str
    tags: list[str] = field(default_factory=list)
    gated: bool = False
    gguf: dict[str, Any] | None = None
    branches: tuple[str, ...] = ("main",)


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    range: str | None
    authorization: str | None

    @property
    def file(self) -> str | None:
        """The repository's file that was asked for."""
        return (
            unquote(self.path.split("/resolve/", 1)[1].split("/", 1)[1]) if "/resolve/" in self.path else None
        )


class FakeHub:
    """The server, and what it was asked.

    Faults, by file name: `drop_once[name] = n` closes the connection after n bytes, once; `stall[name] = n`
    sends n bytes, sets `stalled`, and then sends nothing; `fail[name] = status` answers so, and `fail["api"]`
    does for the listing; `corrupt` names are sent with their last byte changed; `listing_body` replaces the
    listing. `cdn` is the URL of another FakeHub, to which large files are redirected.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.drop_once: dict[str, int] = {}
        self.stall: dict[str, int] = {}
        self.stalled = threading.Event()
        self.fail: dict[str, int] = {}
        self.corrupt: set[str] = set()
        self.listing_body: bytes | None = None
        self.cdn: str | None = None
        self.stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, repo_id: str, files: dict[str, bytes], **settings: Any) -> Repository:
        """Publish `files`; the commit follows from them."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.repositories[repo_id] = Repository(dict(files), **{"commit": digest, **settings})
        return self.repositories[repo_id]

    def add_directory(self, repo_id: str, directory: Path, **settings: Any) -> Repository:
        """Publish the files of a directory."""
        files = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file()
        }
        return self.add(repo_id, files, **settings)

    @property
    def fetched(self) -> list[str]:
        """Names of the files whose bytes were asked for, in order."""
        return [request.file for request in self.requests if request.method == "GET" and request.file]

    def environment(self, cache: Path) -> dict[str, str]:
        """Variables for a child process that is to use this Hub."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        return {**kept, "HF_ENDPOINT": self.url, "HF_HOME": str(cache.parent), "HF_HUB_CACHE": str(cache)}

    def point_at(self, monkeypatch: Any, cache: Path) -> None:
        """Make huggingface_hub in this process use this Hub: it reads its environment only once."""
        point_at(monkeypatch, self.url, cache)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


def point_at(monkeypatch: Any, url: str, cache: Path) -> None:
    """Make huggingface_hub in this process use the Hub at `url`, without a token, and the cache `cache`."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


def _handler_for(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        state = hub

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FakeHub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        headers = self.headers
        self.state.requests.append(
            Request(self.command, path, headers.get("Range"), headers.get("Authorization"))
        )
        if path == "/api/models":
            self._answer_search()
        elif path.startswith("/api/models/"):
            self._answer_listing(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            repo_id, _, rest = path.lstrip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            self._answer_file(repo_id, unquote(revision), unquote(name))
        else:
            self._send(404, b"")

    def _answer_listing(self, path: str) -> None:
        repo_id, _, revision = path.partition("/revision/")
        if "api" in self.state.fail:
            return self._send(self.state.fail["api"], b"")
        repository = self._find(repo_id, unquote(revision) or "main")
        if repository is None:
            return None
        body = self.state.listing_body or json.dumps(_listing(repo_id, repository)).encode()
        return self._send(200, body, {"Content-Type": "application/json"})

    def _answer_search(self) -> None:
        if "api" in self.state.fail:
            return self._send(self.state.fail["api"], b"")
        words = parse_qs(urlsplit(self.path).query).get("search", [""])[0].lower()
        matching = [
            {"id": name, "downloads": 7, "likes": 3, "tags": repository.tags, "gated": repository.gated}
            for name, repository in self.state.repositories.items()
            if words in name.lower()
        ]
        return self._send(200, json.dumps(matching).encode(), {"Content-Type": "application/json"})

    def _find(self, repo_id: str, revision: str) -> Repository | None:
        """The repository, or None after answering why not."""
        repository = self.state.repositories.get(repo_id)
        if repository is None:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif repository.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif revision not in (repository.commit, *repository.branches):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _answer_file(self, repo_id: str, revision: str, name: str) -> None:
        repository = self._find(repo_id, revision)
        if repository is None:
            return
        if name in self.state.fail:
            self._send(self.state.fail[name], b"")
        elif name not in repository.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif self.state.cdn and name.endswith(LARGE):
            self._redirect(repository, name, f"{self.state.cdn}/{repo_id}/resolve/{repository.commit}/{name}")
        else:
            self._send_file(repository, name)

    def _redirect(self, repository: Repository, name: str, target: str) -> None:
        content = repository.files[name]
        linked = {"X-Linked-Etag": f'"{_etag(name, content)}"', "X-Linked-Size": str(len(content))}
        self._send(302, b"", {"X-Repo-Commit": repository.commit, "Location": target, **linked})

    def _send_file(self, repository: Repository, name: str) -> None:
        whole = repository.files[name]
        headers = {
            "X-Repo-Commit": repository.commit,
            "ETag": f'"{_etag(name, whole)}"',
            "Accept-Ranges": "bytes",
        }
        if name in self.state.corrupt:
            whole = whole[:-1] + bytes([whole[-1] ^ 1])
        wanted = self.headers.get("Range")
        first, _, last = (wanted or "0-").removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(whole)) + 1, len(whole))
        if wanted:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(whole)}"
        self._send(206 if wanted else 200, whole[begin:end], headers, name)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, name: str = "") -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self._write(body, name)

    def _write(self, body: bytes, name: str) -> None:
        cut = self.state.drop_once.pop(name, None)
        if cut is None and name in self.state.stall:
            cut = self.state.stall[name]
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True
        if name in self.state.stall:
            self.state.stalled.set()
            self.state.stopping.wait()


def _etag(name: str, content: bytes) -> str:
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _listing(repo_id: str, repository: Repository) -> dict[str, Any]:
    listed: dict[str, Any] = {
        "_id": "0",
        "id": repo_id,
        "modelId": repo_id,
        "sha": repository.commit,
        "private": False,
        "tags": repository.tags,
        "siblings": [_sibling(name, content) for name, content in sorted(repository.files.items())],
    }
    return listed if repository.gguf is None else {**listed, "gguf": repository.gguf}


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _etag("", content)}
    if name.endswith(LARGE):
        sibling["lfs"] = {"sha256": _etag(name, content), "size": len(content), "pointerSize": 134}
    return sibling
