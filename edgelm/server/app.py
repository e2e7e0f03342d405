"""The ASGI application: routes, and what every request passes on its way to one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgelm.errors import EdgeLMError
from edgelm.log import logger
from edgelm.server.anthropic.routes import ANTHROPIC
from edgelm.server.http.endpoints import Api, Endpoint, api_of
from edgelm.server.http.errors import RequestError, refusal_of, refusal_of_fields
from edgelm.server.http.events import ClientGoneError
from edgelm.server.http.guards import BodyLimit, HostGuard, KeyGuard
from edgelm.server.listing import LISTING
from edgelm.server.metrics import ServerMetrics
from edgelm.server.openai.routes import OPENAI
from edgelm.server.openapi import openapi
from edgelm.server.replies import Admission
from edgelm.server.residents import Residents
from edgelm.server.serving import Serving
from edgelm.server.settings import ServerSettings

METRICS = "text/plain; version=0.0.4; charset=utf-8"
CLIENT_CLOSED = 499
"""nginx's status for an asker that has gone; only logs and metrics see it."""


def make_app(residents: Residents, settings: ServerSettings) -> Starlette:
    """Make the application that serves `residents`; its end lets go of them."""
    metrics = ServerMetrics()
    serving = Serving(residents, Admission(settings.max_waiting, settings.retry_after_s, metrics), metrics)
    guards = [
        Middleware(_Counted, metrics=metrics),
        Middleware(HostGuard, names=settings.allowed_hosts, respond=_error_response),
    ]
    if settings.origins:
        guards.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type", "x-api-key"],
            )
        )
    if settings.api_key is not None:
        guards.append(Middleware(KeyGuard, key=settings.api_key, respond=_error_response))
    guards.append(Middleware(BodyLimit, max_bytes=settings.max_body_bytes, respond=_error_response))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        serving.admission.is_closing = True
        await residents.close()

    app = Starlette(
        routes=[route for api in (*APIS, OWN) for route in api.routes],
        middleware=guards,
        lifespan=lifespan,
        exception_handlers={
            RequestError: _refused,
            EdgeLMError: _failed,
            ValidationError: _misread,
            ClientGoneError: _gone,
            HTTPException: _unrouted,
            Exception: _unforeseen,
        },
    )
    app.state.serving = serving
    return app


async def _health(request: Request) -> Response:
    """Answer `GET /health`, which needs no key."""
    return JSONResponse({"status": "ok"})


async def _metrics(request: Request) -> Response:
    """Answer `GET /metrics`."""
    serving: Serving = request.app.state.serving
    serving.metrics.loaded.set(len(serving.residents.loaded))
    return Response(serving.metrics.text(), media_type=METRICS)


async def _openapi(request: Request) -> Response:
    """Answer `GET /openapi.json`."""
    return JSONResponse(openapi([*APIS, OWN]))


APIS = [OPENAI, ANTHROPIC]
"""The APIs of others; a path that belongs to none is answered as the first would."""
OWN = Api(
    "edgelm",
    (),
    [
        *LISTING,
        Endpoint("GET", "/health", _health, "Say that the server runs; needs no key.", refusals=()),
        Endpoint("GET", "/metrics", _metrics, "Count, for Prometheus.", media=METRICS, refusals=(401,)),
        Endpoint("GET", "/openapi.json", _openapi, "Describe every endpoint.", refusals=(401,)),
    ],
    OPENAI.error_response,
    OPENAI.error,
)


def _error_response(scope: Scope, error: RequestError) -> Response:
    return api_of(scope["path"], APIS, Headers(scope=scope)).error_response(error)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _error_response(request.scope, error)


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, EdgeLMError)
    return _error_response(request.scope, refusal_of(error))


def _misread(request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    return _error_response(request.scope, refusal_of_fields(error))


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED)


def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {
        404: f"there is no {request.url.path} here",
        405: f"{request.url.path} does not take {request.method}",
    }
    refusal = RequestError(
        error.status_code, message.get(error.status_code, error.detail), headers=error.headers
    )
    return _error_response(request.scope, refusal)


def _unforeseen(request: Request, error: Exception) -> Response:
    """A fault of ours ends this request and no other; what it was stands in the log."""
    logger.error("%s failed", request.url.path, exc_info=error)
    return _error_response(
        request.scope, RequestError(500, "the server has failed at this request", code="server_error")
    )


class _Counted:
    """Counts requests by path and status, and writes a line of each to the log: never what was asked."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, told)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self._metrics.answered(path, status or CLIENT_CLOSED)
            logger.info(
                "%s %s %s %.2f s", scope["method"], path, status or CLIENT_CLOSED, time.monotonic() - began
            )
