"""An asker who does not read what it asked for holds nobody up, and what waits for it is bounded."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from waiting import wait_for

from edgelm.runtime.job import Job
from edgelm.server import replies
from edgelm.server.http.listener import PatientProtocol

pytestmark = pytest.mark.slow

LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "x"}], "logit_bias": {"256": -100}, "stream": True, "max_tokens": 50_000,
    "logprobs": True, "top_logprobs": 20,
}  # fmt: skip


def metric(address: str, name: str) -> float:
    lines = httpx2.get(f"{address}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


@contextmanager
def not_reading(address: str, body: dict[str, Any]) -> Iterator[socket.socket]:
    """A connection that has asked and reads nothing; little fits on its way."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = address.removeprefix("http://").partition(":")
        connection.connect((host, int(port)))
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        yield connection


def most_that_waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many events wait in any job whenever one more comes."""
    waits, own = [0], Job._put

    def noted(self: Any, item: Any) -> None:
        own(self, item)
        waits[0] = max(waits[0], self._out.qsize())

    monkeypatch.setattr(Job, "_put", noted)
    return waits


@pytest.fixture(autouse=True)
def _little_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system would hold some megabytes for an asker, which take their time to fill."""
    own = PatientProtocol.connection_made

    def with_little(self: PatientProtocol, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        own(self, transport)

    monkeypatch.setattr(PatientProtocol, "connection_made", with_little)


def test_what_waits_is_bounded_and_others_go_on(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MOST_UNREAD", 300)
    waits = most_that_waits(monkeypatch)
    with not_reading(address, LONG) as connection:
        wait_for(lambda: waits[0] >= 300)
        short = {**LONG, "max_tokens": 20, "stream": False}
        assert httpx2.post(f"{address}/v1/chat/completions", json=short, timeout=60).status_code == 200
        came = b""
        while b"events behind it" not in came:
            came += connection.recv(65536)
        assert b"[DONE]" not in came
    wait_for(lambda: metric(address, "edgelm_replies_under_way") == 0)
    assert waits[0] <= 301


def test_who_never_reads_has_gone(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientProtocol, "read_s", 0.3)
    gone = metric(address, "edgelm_disconnects_total")
    with not_reading(address, LONG):
        wait_for(lambda: metric(address, "edgelm_disconnects_total") > gone)
        wait_for(lambda: metric(address, "edgelm_replies_under_way") == 0)
