"""Names of models, times and errors, as Ollama writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse

from edgelm.server.http.errors import RequestError

API_VERSION = "0.14.0"
"""The version of Ollama whose API is spoken here; clients refuse older ones."""

TAG = ":latest"
"""Ollama's tag of a name that has none."""

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
"""JSON Schema of an error."""


def own_name(name: str) -> str:
    """Return what a model is called here: without the tag that says nothing."""
    return name.removesuffix(TAG)


def moment(seconds: float) -> str:
    """Return a time since 1970, in seconds, in RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def error_body(error: RequestError) -> dict[str, Any]:
    """Return an error in Ollama's form; a line of a stream has the same."""
    return {"error": error.message}


def error_response(error: RequestError) -> JSONResponse:
    """Return the answer to a request that is refused."""
    return JSONResponse(error_body(error), status_code=error.status, headers=error.headers)
