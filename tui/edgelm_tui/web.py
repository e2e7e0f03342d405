"""The app in a browser: `edgelm --web`, through textual-serve, on the loopback address and nowhere else.

Whoever reaches the address could type into the app. So the address printed holds a key, the browser keeps it in a cookie, and
requests that another site or another name for this machine brings about are refused (cross-site WebSockets, DNS rebinding).
"""

from __future__ import annotations

import hmac
import secrets
import shlex
import socket
import sys
from typing import TYPE_CHECKING, Any

from edgelm.errors import OutputError, UnsupportedError

if TYPE_CHECKING:
    from aiohttp.web import Request, StreamResponse
    from textual_serve.server import Server

HOST = "127.0.0.1"
DEFAULT_PORT = 8640
_COOKIE = "edgelm_key"


def serve(port: int = DEFAULT_PORT) -> None:
    """Serve until Ctrl-C.

    Raises:
        UnsupportedError: textual-serve is not installed.
        OutputError: the port is taken.
    """
    _check_free(port)
    server, address = make_server(port, [sys.executable, "-m", "edgelm"])
    print(f"edgelm is at {address}\nCtrl-C ends it", file=sys.stderr)
    server.serve()


def make_server(port: int, command: list[str]) -> tuple[Server, str]:
    """Make a server of `command`, and the address that opens it.

    Raises:
        UnsupportedError: textual-serve is not installed.
    """
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError as error:
        raise UnsupportedError(
            f"the app cannot be served: {error.name} is not installed", hint="pip install 'edgelm[web]'"
        ) from error
    key = secrets.token_urlsafe(24)
    guard = _guard(key, {f"{HOST}:{port}", f"localhost:{port}"})

    class Loopback(Server):  # type: ignore[misc, unused-ignore]
        async def _make_app(self) -> web.Application:
            app = await super()._make_app()
            app.middlewares.append(guard)
            return app

        async def on_startup(self, app: web.Application) -> None:
            """No banner: the address is printed already."""

    address = f"http://{HOST}:{port}"
    return Loopback(
        shlex.join(command), HOST, port, title="edgelm", public_url=address
    ), f"{address}/?key={key}"


def _guard(key: str, own: set[str]) -> Any:
    """Lets only those requests through that come from this machine's own address and bring the key."""
    from aiohttp import web

    def is_known(request: Request) -> bool:
        said = request.query.get("key") or request.cookies.get(_COOKIE) or ""
        return hmac.compare_digest(said.encode(), key.encode())

    @web.middleware
    async def guard(request: Request, handler: Any) -> StreamResponse:
        origin = request.headers.get("Origin")
        if request.host not in own or (origin is not None and origin.partition("//")[2] not in own):
            raise web.HTTPForbidden(text="this address is for the browser of this machine only")
        if not is_known(request):
            raise web.HTTPForbidden(text="open the address that edgelm --web printed: it holds the key")
        response: StreamResponse = await handler(request)
        if request.path == "/":
            response.set_cookie(_COOKIE, key, httponly=True, samesite="Strict")
        return response

    return guard


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise OutputError(
                f"port {port} of {HOST} cannot be used: {error.strerror}",
                hint="choose another: edgelm --web=8641",
            ) from error
