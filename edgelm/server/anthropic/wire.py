"""Ids, usage and errors, as Anthropic writes them: https://platform.claude.com/docs/en/api/errors."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.responses import JSONResponse

from edgelm.server.http.errors import RequestError

_CALL_PREFIX = "toolu_"

_KINDS = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip
_STATUSES = {503: 529}
"""Where Anthropic has a status of its own: too much is asked of the server for now."""

NO_THREADS = "thread_unsupported_request"
"""The code by which Anthropic's clients know that they have to send conversations whole."""

ERROR = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
        "request_id": {"type": "string"},
    },
}
"""JSON Schema of an error."""


def new_id(kind: str) -> str:
    """Return an id, as "msg_01…" or "req_01…"."""
    return f"{kind}_01{secrets.token_hex(11)}"


def call_id(id_: str) -> str:
    """Return the id of a call as Anthropic writes it."""
    return _CALL_PREFIX + id_


def own_call_id(id_: str) -> str:
    """Return the id that `call_id` was given: Mistral's templates take no other back."""
    return id_.removeprefix(_CALL_PREFIX)


def usage_of(prompt: int, cached: int, output: int) -> dict[str, Any]:
    """Return what a message took. The three counts of its prompt are disjoint; all that is computed is kept, unasked."""
    return {
        "input_tokens": prompt - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": output,
        "service_tier": "standard",
    }


def error_body(error: RequestError) -> dict[str, Any]:
    """Return an error in Anthropic's form; an event of a stream has the same."""
    status = _STATUSES.get(error.status, error.status)
    kind = _KINDS.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    body: dict[str, Any] = {"type": kind, "message": error.message}
    if error.code == NO_THREADS:
        body["details"] = {"error_code": NO_THREADS}
    return {"type": "error", "error": body, "request_id": new_id("req")}


def error_response(error: RequestError) -> JSONResponse:
    """Return the answer to a request that is refused."""
    body = error_body(error)
    headers = {**error.headers, "request-id": body["request_id"]}
    return JSONResponse(body, status_code=_STATUSES.get(error.status, error.status), headers=headers)
