"""Endpoints that tell of models and of the server; those that would change models are refused by name."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from edgelm.server.exchange.begin import serving_of
from edgelm.server.exchange.body import RequestBody, read_request, refusal
from edgelm.server.http.endpoints import Endpoint
from edgelm.server.http.errors import RequestError
from edgelm.server.names import NamedModel, NamedModels
from edgelm.server.ollama.describe import listed, shown
from edgelm.server.ollama.names import API_VERSION, own_name

NEVER = "9999-12-31T23:59:59Z"
"""When a loaded model ends: no clock says it, but another that needs its room."""


class ShowRequest(RequestBody):
    """A body of `/api/show`."""

    name: str | None = None
    """The name of `model` in older clients."""
    verbose: bool | None = None

    @model_validator(mode="after")
    def _has_name(self) -> ShowRequest:
        if not (self.model or self.name):
            raise refusal("model", "is missing")
        return self


async def tags(request: Request) -> Response:
    """Answer `GET /api/tags`."""
    return JSONResponse({"models": await asyncio.to_thread(_all_listed, serving_of(request).residents.named)})


async def show(request: Request) -> Response:
    """Answer `POST /api/show`."""
    asked = read_request(ShowRequest, await request.body())
    name, find = own_name(asked.model or asked.name or ""), serving_of(request).residents.named.find

    def described() -> dict[str, Any]:
        return shown(find(name, asked.adapters), is_verbose=bool(asked.verbose))

    return JSONResponse(await asyncio.to_thread(described))


async def running(request: Request) -> Response:
    """Answer `GET /api/ps`."""
    models = []
    for resident in serving_of(request).residents.loaded:
        model = resident.model
        named = NamedModel(resident.name, None, model.directory)
        described = await asyncio.to_thread(listed, named)
        del described["modified_at"]
        sizes = {
            "size": model.size_bytes,
            "size_vram": model.size_bytes,
            "context_length": model.context_length,
        }
        models.append({**described, **sizes, "expires_at": NEVER})
    return JSONResponse({"models": models})


async def version(request: Request) -> Response:
    """Answer `GET /api/version`."""
    return JSONResponse({"version": API_VERSION})


async def root(request: Request) -> Response:
    """Answer `GET /` and `HEAD /`, by which clients see that a server runs."""
    return PlainTextResponse("edgelm is running")


async def embed(request: Request) -> Response:
    """Refuse embeddings: what is served here writes text."""
    raise RequestError(400, "the models of this server write text and make no embeddings", param="model")


async def change(request: Request) -> Response:
    """Refuse to change the library: that is its owner's, by `edgelm pull`, `convert` and `models`."""
    raise RequestError(
        403,
        f"{request.url.path} is not done over the API: models are changed by edgelm pull, convert and models remove",
    )


def _all_listed(named: NamedModels) -> list[dict[str, Any]]:
    """The newest first, as Ollama has them."""
    return sorted(map(listed, named.all()), key=lambda model: str(model["modified_at"]), reverse=True)


_EMBEDS = (400, 401, 413)
_CHANGES = (401, 403, 413)
CATALOGUE = [
    Endpoint("GET", "/api/tags", tags, "List the models.", refusals=(401, 500)),
    Endpoint(
        "POST", "/api/show", show, "Describe a model.", body=ShowRequest, refusals=(400, 401, 404, 413, 500)
    ),
    Endpoint("GET", "/api/ps", running, "List the models in memory.", refusals=(401, 500)),
    Endpoint("GET", "/api/version", version, "Name the version of the API.", refusals=(401,)),
    Endpoint("GET", "/", root, "Say that the server runs.", media="text/plain", refusals=(401,)),
    Endpoint("POST", "/api/embed", embed, "Refuse: the models here write text.", refusals=_EMBEDS),
    Endpoint("POST", "/api/embeddings", embed, "Refuse: the models here write text.", refusals=_EMBEDS),
    *(
        Endpoint(
            "POST", f"/api/{name}", change, "Refuse: nobody changes models from afar.", refusals=_CHANGES
        )
        for name in ("pull", "push", "create", "copy", "blobs/{digest}")
    ),
    Endpoint("DELETE", "/api/delete", change, "Refuse: nobody changes models from afar.", refusals=_CHANGES),
]
