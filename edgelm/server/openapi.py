"""The server's own OpenAPI document: every endpoint of every API, made of what the server reads requests with.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from edgelm.server.http.endpoints import REFUSALS, Api, Endpoint, template_of
from edgelm.version import __version__

_SCHEMAS = "#/components/schemas/"


def openapi(apis: Sequence[Api]) -> dict[str, Any]:
    """Return the document of a server that speaks `apis`."""
    bodies = {each.body for api in apis for each in api.endpoints if each.body is not None}
    _, defined = models_json_schema(
        [(body, "validation") for body in sorted(bodies, key=lambda body: body.__name__)],
        ref_template=_SCHEMAS + "{model}",
    )
    schemas = {**defined.get("$defs", {}), **{f"{api.name}Error": dict(api.error) for api in apis}}
    paths: dict[str, dict[str, Any]] = {}
    for api in apis:
        for each in api.endpoints:
            paths.setdefault(template_of(each.path), {})[each.method.lower()] = _operation(api, each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgelm",
            "version": __version__,
            "description": "Language models on this machine, behind the APIs that agents and scripts speak.",
        },
        "tags": [{"name": api.name} for api in apis],
        "security": [{}, {"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _operation(api: Api, endpoint: Endpoint) -> dict[str, Any]:
    named = re.findall(r"\{(\w+)\}", template_of(endpoint.path))
    parameters = [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in named),
        *({"name": name, "in": "query", "schema": dict(schema)} for name, schema in endpoint.query.items()),
    ]
    operation: dict[str, Any] = {
        "tags": [api.name],
        "summary": endpoint.summary,
        "responses": _answers(api, endpoint),
    }
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        schema = {"$ref": _SCHEMAS + endpoint.body.__name__}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _answers(api: Api, endpoint: Endpoint) -> dict[str, Any]:
    content: dict[str, Any] = {endpoint.media: {"schema": dict(endpoint.result)}}
    if endpoint.stream is not None:
        content[endpoint.stream] = {"schema": {"description": "Each event, or line, is JSON."}}
    error = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{api.name}Error"}}}
    return {
        "200": {"description": "The answer.", "content": content},
        **{str(status): {"description": why, "content": content} for status, why in endpoint.others.items()},
        **{str(status): {"description": REFUSALS[status], "content": error} for status in endpoint.refusals},
    }
