"""What an API is to the server: its endpoints, how it writes errors, and what the OpenAPI document says of both.

An API is a list of `Endpoint`s; the application's routes and its document are made of the same list, so neither can lack what
the other has.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgelm.server.http.errors import RequestError

Schema = Mapping[str, Any]
"""A JSON Schema."""

SHARED_PATH = "/v1/models"
"""Where clients of several APIs look for models."""

REFUSALS = {
    400: "The request is not one, or asks for what there is not.",
    401: "The key is missing or wrong.",
    403: "The server does not do that for anybody.",
    404: "What is named does not exist.",
    413: "The body is larger than the server takes.",
    429: "So many replies are under way that the asker has to come again.",
    500: "The server, or the model, has failed at this request.",
    503: "The model does not fit in memory, or the server is about to end.",
    529: "The same, as Anthropic counts it.",
}
"""Statuses of what is refused, and what they mean."""


@dataclass(frozen=True)
class Endpoint:
    """One path and method of an API."""

    method: Literal["GET", "POST", "DELETE", "HEAD"]
    path: str
    """As starlette's routes have it."""
    answer: Callable[[Request], Awaitable[Response]]
    summary: str
    """A sentence."""
    body: type[BaseModel] | None = None
    """What a body is."""
    result: Schema = field(default_factory=lambda: {"type": "object"})
    """What an answer is."""
    media: str = "application/json"
    """The content type of an answer."""
    stream: str | None = None
    """The content type of one that comes as a stream, where it may."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    """Parameters after the question mark."""
    refusals: Sequence[int] = (400, 401, 404, 413, 429, 500, 503)
    others: Mapping[int, str] = field(default_factory=dict)
    """Statuses of further answers in the form of `result`, and what they mean."""


@dataclass(frozen=True)
class Api:
    """One API that the server speaks."""

    name: str
    prefixes: tuple[str, ...]
    """What its paths begin with; the longest prefix of all APIs says whose a path is."""
    endpoints: Sequence[Endpoint]
    error_response: Callable[[RequestError], Response]
    """Writes an error."""
    error: Schema
    """What it writes."""
    header: str = ""
    """The header of its clients, which tells them apart on paths that are another API's as well; empty for none."""

    @property
    def routes(self) -> list[Route]:
        """The routes of its endpoints."""
        return [Route(each.path, each.answer, methods=[each.method]) for each in self.endpoints]


def api_of(path: str, apis: Sequence[Api], headers: Container[str] = ()) -> Api:
    """Return the API that a request asks by: the one whose client's header it has on a path of the list of models, else the one
    whose prefix of `path` is longest; the first where none fits.
    """
    if path.startswith(SHARED_PATH):
        marked = [api for api in apis if api.header and api.header in headers]
        if marked:
            return marked[0]
    fitting = [(len(prefix), api) for api in apis for prefix in api.prefixes if path.startswith(prefix)]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else apis[0]


def template_of(path: str) -> str:
    """Return a path of starlette's as OpenAPI writes it: "{name:path}" is "{name}"."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
