"""The models that are served, for clients of OpenAI's and of Anthropic's API, which ask for them at the same path."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgelm.server.anthropic.listing import PageQuery, model_info, models_page
from edgelm.server.anthropic.routes import ANTHROPIC
from edgelm.server.exchange.begin import serving_of
from edgelm.server.http.endpoints import SHARED_PATH, Endpoint
from edgelm.server.http.errors import RequestError, refusal_of_fields


async def models(request: Request) -> Response:
    """Answer `GET /v1/models`."""
    served = await asyncio.to_thread(serving_of(request).residents.directories)
    if ANTHROPIC.header in request.headers:
        return JSONResponse(await asyncio.to_thread(models_page, served, _page(request)))
    listed = [_described(name, path) for name, path in sorted(served.items())]
    return JSONResponse({"object": "list", "data": listed})


async def model(request: Request) -> Response:
    """Answer `GET /v1/models/NAME`."""
    served = await asyncio.to_thread(serving_of(request).residents.directories)
    name = request.path_params["name"]
    if name not in served:
        raise RequestError(404, f"there is no model {name!r} here", param="model", code="model_not_found")
    if ANTHROPIC.header in request.headers:
        return JSONResponse(await asyncio.to_thread(model_info, name, served[name]))
    return JSONResponse(_described(name, served[name]))


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


def _described(name: str, directory: Path) -> dict[str, Any]:
    created = int(directory.stat().st_mtime)
    return {"id": name, "object": "model", "created": created, "owned_by": "edgelm"}
