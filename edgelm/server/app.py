"""The ASGI application: routes, and what every request passes on its way to one."""

from __future__ import annotations

import asyncio
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
from starlette.types import Scope

from edgelm.errors import EdgeLMError
from edgelm.server.anthropic.routes import ANTHROPIC
from edgelm.server.http.endpoints import Api, Endpoint, api_of
from edgelm.server.http.errors import RequestError, refusal_of, refusal_of_fields
from edgelm.server.http.events import ClientGoneError
from edgelm.server.http.guards import BodyLimit, HostGuard, KeyGuard, path_below_mount
from edgelm.server.http.request_log import CLIENT_CLOSED, RequestLog
from edgelm.server.listing import LISTING
from edgelm.server.metrics import ServerMetrics
from edgelm.server.ollama.routes import OLLAMA
from edgelm.server.openai.responses.store import ResponseStore
from edgelm.server.openai.routes import OPENAI
from edgelm.server.openapi import openapi
from edgelm.server.replies import Admission
from edgelm.server.residents import Residents
from edgelm.server.serving import Serving
from edgelm.server.settings import ServerSettings
from edgelm.server.stalls import StallWatch

METRICS = "text/plain; version=0.0.4; charset=utf-8"


def make_app(residents: Residents, settings: ServerSettings) -> Starlette:
    """Make the application that serves `residents`; its end lets go of them."""
    metrics = ServerMetrics()
    admission = Admission(settings.max_waiting, settings.retry_after_s, metrics)
    serving = Serving(residents, admission, metrics, StallWatch(residents, settings.stall_s))
    guards = [
        Middleware(RequestLog, count=metrics.answered, respond=_error_response),
        Middleware(HostGuard, names=settings.allowed_hosts, respond=_error_response),
    ]
    if settings.origins:
        guards.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],  # clients of three APIs have many, and the page has been named
            )
        )
    if settings.api_key is not None:
        guards.append(Middleware(KeyGuard, key=settings.api_key, respond=_error_response))
    guards.append(Middleware(BodyLimit, max_bytes=settings.max_body_bytes, respond=_error_response))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(serving.stalls.run())
        yield
        watch.cancel()
        admission.close()
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
        },
    )
    app.state.serving = serving
    app.state.responses = ResponseStore()
    return app


async def _health(request: Request) -> Response:
    """Answer `GET /health`, which needs no key: 503 where the server should get no further requests, or be begun again."""
    serving: Serving = request.app.state.serving
    if serving.admission.is_closing:
        return JSONResponse({"status": "stopping"}, 503)
    if serving.stalls.is_stalled:
        return JSONResponse({"status": "stalled"}, 503)
    return JSONResponse({"status": "ok"})


async def _metrics(request: Request) -> Response:
    """Answer `GET /metrics`."""
    serving: Serving = request.app.state.serving
    serving.metrics.loaded.set(len(serving.residents.loaded))
    serving.metrics.stalled.set(serving.stalls.waited_s)
    return Response(serving.metrics.text(), media_type=METRICS)


async def _openapi(request: Request) -> Response:
    """Answer `GET /openapi.json`."""
    return JSONResponse(openapi([*APIS, OWN]))


APIS = [OPENAI, ANTHROPIC, OLLAMA]
"""The APIs of others; a path that belongs to none is answered as the first would."""
OWN = Api(
    "edgelm",
    (),
    [
        *LISTING,
        Endpoint(
            "GET",
            "/health",
            _health,
            "Say that the server runs; needs no key.",
            result={
                "type": "object",
                "properties": {"status": {"enum": ["ok", "stopping", "stalled"]}},
                "required": ["status"],
            },
            refusals=(),
            others={503: "The server is about to end, or a model of it stands still."},
        ),
        Endpoint("GET", "/metrics", _metrics, "Count, for Prometheus.", media=METRICS, refusals=(401,)),
        Endpoint("GET", "/openapi.json", _openapi, "Describe every endpoint.", refusals=(401,)),
    ],
    OPENAI.error_response,
    OPENAI.error,
)


def _error_response(scope: Scope, error: RequestError) -> Response:
    return api_of(path_below_mount(scope), APIS, Headers(scope=scope)).error_response(error)


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
