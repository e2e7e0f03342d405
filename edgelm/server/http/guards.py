"""What every request passes before an endpoint sees it: its host, its key, the size and the pace of its body. Pure ASGI."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgelm.server.http.errors import RequestError

ErrorResponse = Callable[[Scope, RequestError], Response]
"""Writes an error as the API of the path does."""

OPEN_PATHS = ("/health",)
"""What is asked by what keeps the server running, which has no key."""


class HostGuard:
    """Lets requests through whose Host header has a name that is known, or an address.

    A page whose name was bound to this machine's address (DNS rebinding) sends that name, and no page is named by an address
    that is not its own.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], respond: ErrorResponse) -> None:
        self._app, self._names, self._respond = app, frozenset(names), respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400."""
        if scope["type"] != "http" or self._is_known(Headers(scope=scope).getlist("host")):
            await self._app(scope, receive, send)
            return
        error = RequestError(400, "the Host header names no host of this server", code="invalid_host")
        await self._respond(scope, error)(scope, receive, send)

    def _is_known(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        name, port = split_host(hosts[0].strip().lower())
        if port and not (port.isascii() and port.isdecimal()):
            return False
        return name in self._names or _is_address(name)


def split_host(host: str) -> tuple[str, str]:
    """Return the name and the port of a Host header; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        return name + bracket, rest.removeprefix(":") if rest.startswith(":") or not rest else "?"
    name, _, port = host.partition(":")
    return name, port


def _is_address(name: str) -> bool:
    try:
        if name.startswith("[") and name.endswith("]"):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


class KeyGuard:
    """Lets requests with the key through; compared in constant time, so that it cannot be guessed letter by letter."""

    def __init__(self, app: ASGIApp, key: str, respond: ErrorResponse) -> None:
        self._app, self._key, self._respond = app, key.encode(), respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401."""
        if scope["type"] != "http" or path_below_mount(scope) in OPEN_PATHS or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        error = RequestError(
            401,
            "the API key is missing or wrong",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await self._respond(scope, error)(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        """Whether one of the headers that may carry a key has it: an asker may send a key of another service in the other."""
        is_known = False
        for name, value in scope["headers"]:
            kind, _, bearer = value.partition(b" ")
            if name == b"authorization" and kind.lower() == b"bearer":
                is_known |= hmac.compare_digest(bearer.strip(), self._key)
            elif name == b"x-api-key":
                is_known |= hmac.compare_digest(value.strip(), self._key)
        return is_known


def path_below_mount(scope: Scope) -> str:
    """Return the path below where the application is mounted in another one."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class BodyLimit:
    """Refuses bodies above a size, by their announced length and, where that lies or is missing, while they come.

    A body has to go on coming: who sends half of one and waits is told so (408) after `patience_s` seconds.
    """

    patience_s = 30.0

    def __init__(self, app: ASGIApp, max_bytes: int, respond: ErrorResponse) -> None:
        self._app, self._max_bytes, self._respond = app, max_bytes, respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        # A number of so many digits is one that Python refuses to read.
        if announced.isdecimal() and (len(announced) > 19 or int(announced) > self._max_bytes):
            await self._respond(scope, self._error())(scope, receive, send)
            return
        came, is_whole = 0, False

        async def counted() -> Message:
            nonlocal came, is_whole
            message = await receive() if is_whole else await self._more(receive)
            came += len(message.get("body", b""))
            is_whole = is_whole or not message.get("more_body", False)
            if came > self._max_bytes:
                raise self._error()
            return message

        await self._app(scope, counted, send)

    async def _more(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self.patience_s):
                return await receive()
        except TimeoutError as error:
            message = f"nothing of the body came for {self.patience_s:g} seconds"
            raise RequestError(408, message, code="timeout", headers={"Connection": "close"}) from error

    def _error(self) -> RequestError:
        return RequestError(413, f"the body is larger than {self._max_bytes:,} bytes", code="body_too_large")
