"""The models that are served, for clients of OpenAI's and of Anthropic's API, which ask for them at the same path."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgelm.server.anthropic.listing import PageQuery, model_info, models_page
from edgelm.server.anthropic.routes import ANTHROPIC
from edgelm.server.exchange.begin import serving_of
from edgelm.server.http.endpoints import SHARED_PATH, Endpoint
from edgelm.server.http.errors import refusal_of_fields
from edgelm.server.names import NamedModel


async def models(request: Request) -> Response:
    """Answer `GET /v1/models`."""
    named = await asyncio.to_thread(serving_of(request).residents.named.all)
    if ANTHROPIC.header in request.headers:
        served = {each.name: each.directory for each in named}
        return JSONResponse(await asyncio.to_thread(models_page, served, _page(request)))
    return JSONResponse({"object": "list", "data": [_described(each) for each in named]})


async def model(request: Request) -> Response:
    """Answer `GET /v1/models/NAME`."""
    named = await asyncio.to_thread(serving_of(request).residents.named.find, request.path_params["name"])
    if ANTHROPIC.header in request.headers:
        return JSONResponse(await asyncio.to_thread(model_info, named.name, named.directory))
    return JSONResponse(_described(named))


LISTING = [
    Endpoint(
        "GET",
        SHARED_PATH,
        models,
        "List the models.",
        query=PageQuery.model_json_schema()["properties"],
        refusals=(400, 401, 500),
    ),
    Endpoint("GET", f"{SHARED_PATH}/{{name:path}}", model, "Describe a model.", refusals=(401, 404, 500)),
]


def _page(request: Request) -> PageQuery:
    try:
        return PageQuery.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise refusal_of_fields(error) from error


def _described(named: NamedModel) -> dict[str, Any]:
    """One entry; one with adapters names its base as vLLM does, in `parent`."""
    directory = named.adapters[-1].directory if named.adapters else named.directory
    parent = {"parent": named.base} if named.adapters else {}
    created = int(directory.stat().st_mtime)
    return {"id": named.name, "object": "model", "created": created, "owned_by": "edgelm", **parent}
