"""Ids, usage, log-probabilities and errors, as OpenAI writes them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.responses import JSONResponse

from edgelm.runtime.events import Token, Usage
from edgelm.server.exchange.logprobs import finite, token_logprobs
from edgelm.server.http.errors import RequestError
from edgelm.version import __version__

FINGERPRINT = f"edgelm-{__version__}"


def head(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """Return what every piece of an answer begins with."""
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": FINGERPRINT,
    }


def usage_of(replies: Iterable[tuple[Usage, bool]]) -> dict[str, Any]:
    """Return what an answer took.

    Args:
        replies: of each choice, its usage, and whether it is the first of its prompt, which is counted once.
    """
    prompt = cached = completion = thinking = 0
    for usage, is_first in replies:
        completion += usage.completion_tokens
        thinking += usage.thinking_tokens
        if is_first:
            prompt, cached = prompt + usage.prompt_tokens, cached + usage.cached_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def chat_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """Return the log-probabilities of tokens, as chat completions have them."""
    return {"content": token_logprobs(tokens), "refusal": None}


def text_logprobs(tokens: Sequence[Token], offset: int) -> dict[str, Any]:
    """Return the same, as completions have them; `offset` is where the first token begins in the text."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [finite(token.logprob) for token in tokens],
        "top_logprobs": [
            {other.text: finite(other.logprob) for other in token.alternatives} for token in tokens
        ],
        "text_offset": offsets,
    }


ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
"""JSON Schema of `error_body`."""


def error_body(error: RequestError) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(error.status)
    kind = kind or ("invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_response(error: RequestError) -> JSONResponse:
    """Return the answer to a request that is refused."""
    return JSONResponse(error_body(error), status_code=error.status, headers=error.headers)
