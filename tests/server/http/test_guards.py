"""Who may ask, and how much: keys, host names, web pages, sizes, places."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import served

from edgelm.errors import OptionError
from edgelm.server.settings import ServerSettings

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}


@pytest.fixture(scope="module")
def guarded(model_directory: Path) -> Iterator[httpx2.Client]:
    with (
        served(
            model_directory,
            api_key="secret",
            origins=("https://good.example",),
            max_body_bytes=4096,
            max_waiting=2,
        ) as at,
        httpx2.Client(base_url=at, headers={"Authorization": "Bearer secret"}, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}, {"x-api-key": ""}]
)
def test_without_the_key_nothing_is_told(guarded: httpx2.Client, given: dict[str, str]) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", CHAT), ("GET", "/metrics"), ("GET", "/nowhere")):
        answer = httpx2.request(method, f"{guarded.base_url}{path}", headers=given)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx2.get(f"{guarded.base_url}/health").json() == {"status": "ok"}


def test_the_key_in_either_header(guarded: httpx2.Client) -> None:
    assert guarded.get("/v1/models").status_code == 200
    assert httpx2.get(f"{guarded.base_url}/v1/models", headers={"x-api-key": "secret"}).status_code == 200


def test_a_name_that_was_bound_to_this_address_is_refused(guarded: httpx2.Client) -> None:
    for host, status in (("evil.example", 400), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200)):
        assert guarded.get("/v1/models", headers={"Host": host}).status_code == status


MESSAGES, OLLAMA = "/v1/messages", "/api/chat"
VERSION = {"anthropic-version": "2023-06-01"}


def test_what_is_refused_has_the_form_of_the_paths_api(guarded: httpx2.Client) -> None:
    large = {"model": "tiny", "messages": [], "metadata": "x" * 5000}
    refusals = [
        (401, "authentication_error", {"headers": {"Authorization": "Bearer wrong"}}),
        (400, "invalid_request_error", {"headers": {"Host": "evil.example"}}),
        (413, "request_too_large", {"json": large}),
    ]
    for status, kind, given in refusals:
        answers = {path: guarded.post(path, **given) for path in (CHAT, MESSAGES, OLLAMA)}
        assert {answer.status_code for answer in answers.values()} == {status}
        assert answers[CHAT].json()["error"]["code"]
        assert (answers[MESSAGES].json()["type"], answers[MESSAGES].json()["error"]["type"]) == (
            "error",
            kind,
        )
        assert answers[MESSAGES].headers["request-id"] == answers[MESSAGES].json()["request_id"]
        assert list(answers[OLLAMA].json()) == ["error"]
        assert isinstance(answers[OLLAMA].json()["error"], str)
    wrong = guarded.get("/v1/models", headers={**VERSION, "Authorization": "Bearer wrong"})
    assert wrong.json()["error"]["type"] == "authentication_error"
    assert guarded.get("/v1/models", headers=VERSION).json()["has_more"] is False
    assert guarded.get("/v1/messages/batches").json()["error"]["type"] == "not_found_error"
    assert "/api/nothing" in guarded.get("/api/nothing").json()["error"]


def test_web_pages_ask_where_they_are_named(guarded: httpx2.Client, address: str) -> None:
    asks = {"Origin": "https://good.example", "Access-Control-Request-Method": "POST"}
    assert (
        guarded.options(CHAT, headers=asks).headers["access-control-allow-origin"] == "https://good.example"
    )
    bad = guarded.options(CHAT, headers={**asks, "Origin": "https://bad.example"})
    assert "access-control-allow-origin" not in bad.headers
    assert "access-control-allow-origin" not in httpx2.options(f"{address}{CHAT}", headers=asks).headers


def test_a_body_that_is_too_large(guarded: httpx2.Client) -> None:
    large = b'{"messages": "' + b"x" * 5000 + b'"}'
    for body in (large, iter([large[:3000], large[3000:]])):
        answer = guarded.post(CHAT, content=body)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"


def test_more_replies_than_there_are_places_for(guarded: httpx2.Client) -> None:
    answer = guarded.post(CHAT, json={**BODY, "n": 3})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert guarded.post(CHAT, json={**BODY, "n": 2}).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"messages": 3}', b"[" * 2000]
)
def test_what_is_no_request(guarded: httpx2.Client, body: bytes) -> None:
    for path in (CHAT, "/v1/completions", MESSAGES, "/v1/messages/count_tokens", OLLAMA, "/api/generate"):
        answer = guarded.post(path, content=body)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert isinstance(error, str) or error["type"] == "invalid_request_error"


def test_other_paths_and_methods(guarded: httpx2.Client) -> None:
    assert guarded.get("/v2").status_code == 404
    assert guarded.get(CHAT).status_code == 405
    assert "/v2" in guarded.get("/v2").json()["error"]["message"]


def test_what_is_counted(guarded: httpx2.Client) -> None:
    guarded.post(CHAT, json=BODY)
    text = guarded.get("/metrics").text
    assert f'edgelm_requests_total{{path="{CHAT}",status="200"}}' in text
    assert "edgelm_replies_under_way 0.0" in text
    assert "edgelm_models_loaded 1.0" in text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "example.org", ""])
def test_an_address_that_others_reach_asks_for_a_key(host: str) -> None:
    with pytest.raises(OptionError, match="host"):
        ServerSettings(host=host)
    if host:
        assert ServerSettings(host=host, api_key="k").host == host


@pytest.mark.parametrize(
    "settings", [{"api_key": " "}, {"api_key": "ü"}, {"origins": ("*",)}, {"hosts": "a"}, {"port": 70_000}]
)
def test_settings_that_are_none(settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(settings)).replace("_", ".").replace("api", "API")):
        ServerSettings(**settings)
