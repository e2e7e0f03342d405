"""Stand-ins: agents that write down how they were called, and a server that only says how it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class FakeAgent:
    """An executable that writes down its environment and its arguments, and ends with a status."""

    folder: Path
    name: str

    def environment(self) -> dict[str, str]:
        """What it was started with."""
        lines = (self.folder / f"{self.name}.env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def arguments(self) -> list[str]:
        """What stood behind its name."""
        return (self.folder / f"{self.name}.arguments").read_text(encoding="utf-8").splitlines()


def write_agent(folder: Path, name: str, end: str = "exit 7") -> FakeAgent:
    """Put an agent into a folder of programs; `end` is what its script does last."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / name
    script.write_text(
        f'#!/bin/sh\nenv > "{script}.env"\nprintf "%s\\n" "$@" > "{script}.arguments"\n{end}\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return FakeAgent(folder, name)


class _Says(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        key = self.server.key  # type: ignore[attr-defined]
        is_known = self.path == "/health" or not key or self.headers["Authorization"] == f"Bearer {key}"
        text = {"/health": json.dumps({"status": "ok"}), "/metrics": self.server.metrics}[self.path]  # type: ignore[attr-defined]
        body = text.encode() if is_known else b"{}"
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def saying(replies: int = 0, loaded: int = 1, key: str = "") -> Iterator[int]:
    """The port of a server that answers `/health` and `/metrics`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Says)
    server.key = key  # type: ignore[attr-defined]
    server.metrics = (  # type: ignore[attr-defined]
        f"# HELP edgelm_replies_under_way x\nedgelm_replies_under_way {replies}.0\nedgelm_models_loaded {loaded}.0\n"
        'edgelm_requests_total{path="/health",status="200"} 3.0\n'
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
