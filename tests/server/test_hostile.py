"""Requests that nobody means well with: numbers, depths, names, headers and heads that break what reads them carelessly."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import served

import edgelm
from edgelm.server.http.guards import BodyLimit
from edgelm.server.http.listener import PatientProtocol
from edgelm.server.residents import Residents

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
KEY = {"Authorization": "Bearer secret"}
MESSAGES = '"messages":[{"role":"user","content":"THE-PROMPT"}],"max_tokens":1'


def schema(text: str) -> str:
    return f'"response_format":{{"type":"json_schema","json_schema":{{"name":"x","schema":{text}}}}}'


@pytest.fixture(scope="module")
def guarded(model_directory: Path) -> Iterator[httpx2.Client]:
    with (
        served(
            model_directory, api_key="secret", origins=("https://good.example",), hosts=("mac.local",)
        ) as at,
        httpx2.Client(base_url=at, headers=KEY, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "field",
    [
        '"temperature":NaN',
        '"top_p":Infinity',
        '"temperature":1e999',
        '"presence_penalty":-1e999',
        '"n":-1e999',
        f'"seed":{"9" * 10_000}',
        f'"temperature":{"9" * 10_000}',
        f'"logit_bias":{{"{"9" * 5_000}":1}}',
        '"logit_bias":{"65":NaN}',
        '"logit_bias":{"²":1}',
        f'"tools":{"[" * 10_000}{"]" * 10_000}',
        '"metadata":' + '{"a":' * 10_000 + "1" + "}" * 10_000,
        schema('{"type":"integer","maximum":1e400}'),
        schema(f'{{"type":"integer","maximum":{"9" * 5_000}}}'),
        schema('{"const":NaN}'),
        schema('{"$ref":"http://127.0.0.1:1/x"}'),
        schema('{"type":"array","items":' * 140 + '{"type":"integer"}' + "}" * 140),
        '"user":"\\ud800"',
    ],
)
def test_what_numbers_and_depths_are_no_request(guarded: httpx2.Client, field: str) -> None:
    answer = guarded.post(CHAT, content=f"{{{MESSAGES},{field}}}")
    assert answer.status_code == 400, answer.text[:300]
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert len(answer.content) < 3_000
    assert "THE-PROMPT" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/completions",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/responses",
        "/api/chat",
        "/api/generate",
    ],
)
def test_the_same_of_every_api(guarded: httpx2.Client, path: str) -> None:
    for body in (b"", b"\xff", b"[" * 100_000, b'{"model":' + b"9" * 10_000 + b"}", b'{"max_tokens":1e999}'):
        assert guarded.post(path, content=body).status_code == 400


@pytest.mark.parametrize(
    "name", ["../tiny", "/etc/passwd", "a\0b", "http://127.0.0.1:1/x", "tiny/../tiny", "x" * 99_999]
)
def test_names_are_looked_up_and_never_opened(
    guarded: httpx2.Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Residents, "_load_beside", None)
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    for named in ({"model": name}, {"model": f"tiny+{name}"}, {"adapter": name}, {"adapter": ["x", name]}):
        answer = guarded.post(CHAT, json={**body, **named})
        assert answer.status_code in (400, 404)
        assert len(answer.content) < 3_000
    assert guarded.get(f"/v1/models/{name[:99].encode().hex('%').join(('%', ''))}").status_code == 404


def test_which_names_of_this_server_are_known(guarded: httpx2.Client) -> None:
    for host in (
        "localhost",
        "LOCALHOST:80",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8080",
        "192.168.0.7:8080",
        "mac.local",
        "[fe80::1]:1",
    ):
        assert guarded.get("/v1/models", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[::1].evil.example", "[::1",
                 "localhost:80:80", "localhost:x", "127.0.0.1@evil.example", "", "2130706433.evil.example"):  # fmt: skip
        answer = guarded.get("/v1/models", headers={"Host": host})
        assert answer.status_code == 400, host
        assert answer.json()["error"]["code"] == "invalid_host"


def test_a_key_in_either_header_or_both(guarded: httpx2.Client) -> None:
    def status(*headers: tuple[str, str | bytes]) -> int:
        given = [
            (name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers
        ]
        return httpx2.get(f"{guarded.base_url}/v1/models", headers=given).status_code

    assert status(("Authorization", "Bearer of-another-service"), ("x-api-key", "secret")) == 200
    assert status(("Authorization", "bearer  secret"), ("x-api-key", "wrong")) == 200
    assert status(("Authorization", "Bearer wrong"), ("x-api-key", "wrong")) == 401
    assert status(("Authorization", b"Bearer secr\xe9t")) == 401
    assert status(("x-api-key", b"\xff\xfe")) == 401
    assert status(("x-api-key", "secre")) == status(("x-api-key", "secrets")) == 401
    assert status(("Authorization", "Basic secret")) == 401


def test_a_preflight_has_no_key(guarded: httpx2.Client) -> None:
    asks = {
        "Origin": "https://good.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    answer = httpx2.options(f"{guarded.base_url}{CHAT}", headers=asks)
    assert answer.status_code == 200
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    refused = httpx2.post(f"{guarded.base_url}{CHAT}", headers={"Origin": "https://good.example"}, json={})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://good.example", "the page may read why"


def sent(client: httpx2.Client, data: bytes, more: bytes = b"") -> bytes:
    """What comes back on a connection of its own until the server closes it."""
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=60) as connection:
        connection.sendall(data)
        came = b""
        while part := connection.recv(65536):
            came += part
        return came


def head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {CHAT} HTTP/1.1", "Connection: close", *lines, "", ""]).encode()


def test_heads_that_are_none(guarded: httpx2.Client) -> None:
    local = ("Host: localhost", "Authorization: Bearer secret")
    assert b" 400 " in sent(guarded, head(*local, "Host: evil.example", "Content-Length: 0")).splitlines()[0]
    assert (
        b" 400 " in sent(guarded, head("Authorization: Bearer secret", "Content-Length: 0")).splitlines()[0]
    )
    assert b" 400 " in sent(guarded, head(*local, f"X-Long: {'x' * 100_000}")).splitlines()[0]
    assert (
        b" 400 "
        in sent(guarded, head(*local, "Content-Length: 5", "Content-Length: 6") + b"{}").splitlines()[0]
    )
    assert b" 413 " in sent(guarded, head(*local, f"Content-Length: {'9' * 18}")).splitlines()[0]
    assert b" 400 " in sent(guarded, head(*local, f"Content-Length: {'9' * 5000}")).splitlines()[0]
    assert guarded.get("/health").status_code == 200


def test_who_sends_half_of_something_is_not_waited_for(
    guarded: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientProtocol, "head_s", 0.2)
    monkeypatch.setattr(BodyLimit, "patience_s", 0.2)
    local = ("Host: localhost", "Authorization: Bearer secret")
    assert sent(guarded, b"") == b""
    assert sent(guarded, b"POST /v1/chat/compl") == b""
    assert sent(guarded, head(*local)[:-10]) == b""
    half = sent(guarded, head(*local, "Content-Length: 100") + b'{"messages"')
    assert b" 408 " in half.splitlines()[0]
    assert json.loads(half.partition(b"\r\n\r\n")[2])["error"]["code"] == "timeout"
    assert b" 408 " in sent(guarded, head(*local, "Transfer-Encoding: chunked") + b"5\r\n{").splitlines()[0]
    whole = json.dumps({"messages": [{"role": "user", "content": "x"}], "max_tokens": 200}).encode()
    assert b" 200 " in sent(guarded, head(*local, f"Content-Length: {len(whole)}") + whole).splitlines()[0]


def test_a_body_of_100_mb_is_refused_and_not_kept(guarded: httpx2.Client) -> None:
    piece = b"x" * (1 << 20)
    for content in (piece * 100, (piece for _ in range(100))):
        assert guarded.post(CHAT, content=content).status_code == 413
    assert guarded.get("/health").status_code == 200


def test_no_prompt_in_the_log_whatever_fails(
    guarded: httpx2.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    prompt = "-".join(["THE", "PROMPT"])

    def failing(self: edgelm.Model, work: Any) -> Any:
        try:
            raise KeyError(prompt)
        except KeyError as error:
            raise ValueError(f"of {prompt}") from error

    body: dict[str, Any] = {"messages": [{"role": "user", "content": "THE-PROMPT"}], "max_tokens": 2}
    with caplog.at_level("DEBUG"):
        guarded.post(CHAT, json=body)
        guarded.post(CHAT, json={**body, "top_p": "THE-PROMPT"})
        guarded.post(CHAT, json={**body, "model": "THE-PROMPT"})
        guarded.get("/v1/THE-PROMPT?q=THE-PROMPT")
        monkeypatch.setattr(edgelm.Model, "areplies", failing)
        for stream in (False, True):
            answer = guarded.post(CHAT, json={**body, "stream": stream})
            assert answer.status_code == 500
            assert "THE-PROMPT" not in answer.text
    assert "/v1/chat/completions failed" in caplog.text
    assert "in failing" in caplog.text
    assert "ValueError" in caplog.text
    assert "THE-PROMPT" not in "".join(
        record.getMessage() + str(record.exc_info)
        for record in caplog.records
        if not record.name.startswith("http")
    )
    assert "THE-PROMPT" not in "".join(capfd.readouterr())


def test_an_error_in_a_stream_that_nobody_foresaw_closes_it(
    guarded: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = edgelm.Model.areplies

    async def failing(self: edgelm.Model, work: Any) -> Any:
        async for number, event in own(self, work):
            yield number, event
            if isinstance(event, edgelm.Text):
                raise ValueError("a fault of ours")

    monkeypatch.setattr(edgelm.Model, "areplies", failing)
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 20, "stream": True}
    with pytest.raises(httpx2.RemoteProtocolError):
        guarded.post(CHAT, json=body)
    monkeypatch.undo()
    assert "[DONE]" in guarded.post(CHAT, json=body).text
