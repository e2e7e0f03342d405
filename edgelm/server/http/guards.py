"""What every request passes before an endpoint sees it: the name it is asked by, the key, the size of its body. Pure ASGI."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgelm.server.http.errors import RequestError

ErrorResponse = Callable[[Scope, RequestError], Response]
"""Writes an error as the API of the path does."""

OPEN_PATHS = ("/health",)
"""ReplyTask by what keeps the server running, which has no key."""


class HostGuard:
    """Refuses requests whose Host header is none of `names`: a page whose name was bound to this address has another."""

    def __init__(self, app: ASGIApp, names: Sequence[str], respond: ErrorResponse) -> None:
        self._app, self._names, self._respond = app, frozenset(names), respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400."""
        if scope["type"] == "http" and _without_port(Headers(scope=scope).get("host", "")) not in self._names:
            error = RequestError(400, "the Host header is no name of this server", code="invalid_host")
            await self._respond(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _without_port(host: str) -> str:
    """The name of a Host header; an IPv6 address keeps its brackets."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


class KeyGuard:
    """Lets requests with the key through; compared in constant time, so that it cannot be guessed letter by letter."""

    def __init__(self, app: ASGIApp, key: str, respond: ErrorResponse) -> None:
        self._app, self._key, self._respond = app, key.encode(), respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._is_known(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        error = RequestError(
            401,
            "the API key is missing or wrong",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await self._respond(scope, error)(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(given.encode(), self._key)


class BodyLimit:
    """Refuses bodies above a size, by their announced length and, where that lies or is missing, while they come."""

    def __init__(self, app: ASGIApp, max_bytes: int, respond: ErrorResponse) -> None:
        self._app, self._max_bytes, self._respond = app, max_bytes, respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            await self._respond(scope, self._error())(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._max_bytes:
                raise self._error()
            return message

        await self._app(scope, counted, send)

    def _error(self) -> RequestError:
        return RequestError(413, f"the body is larger than {self._max_bytes:,} bytes", code="body_too_large")
