"""Errors of requests: what went wrong, with the status that every API gives it. How an API writes it is its own."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from edgelm.errors import (
    EdgeLMError,
    EngineError,
    FitError,
    FormatError,
    NotFoundError,
    OptionError,
    PromptError,
    UnsupportedError,
)
from edgelm.messages.values import MessageError

MOST_CHARACTERS = 2_000
"""A message has no more: what a request sent is not all sent back."""


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        message: a sentence for the asker.
        param: the field of the request that it is about.
        code: a word for programs.
        headers: further ones of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        if len(message) > MOST_CHARACTERS:
            message = f"{message[:MOST_CHARACTERS]}…"
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})


_STATUSES: tuple[tuple[type[EdgeLMError], int, str], ...] = (
    (NotFoundError, 404, "model_not_found"),
    (FitError, 503, "out_of_memory"),
    (PromptError, 400, "invalid_prompt"),
    (OptionError, 400, "invalid_value"),
    (UnsupportedError, 400, "unsupported_value"),
    (FormatError, 400, "invalid_value"),
    (EngineError, 500, "engine_error"),
)


def refusal_of(error: EdgeLMError) -> RequestError:
    """Return how a request is told of one of edgelm's errors."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    param = error.settings[0] if isinstance(error, OptionError) and error.settings else None
    param = error.field if isinstance(error, MessageError) else param
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            return RequestError(status, message, param=param, code=code)
    return RequestError(500, message, code="server_error")


def refusal_of_fields(error: ValidationError) -> RequestError:
    """Return how a request is told of the first of its fields that is not what it may be."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = _field(first["loc"])
    shown = repr(first["input"])
    value = f" is {shown if len(shown) <= 80 else shown[:80] + '…'}"
    if first["type"] in ("missing", "json_invalid"):
        value = ""
    return RequestError(
        400, f"{where or 'the body'}{value}: {first['msg']}", param=where or None, code="invalid_value"
    )


def _field(path: tuple[int | str, ...]) -> str:
    """A place inside a request, as "messages[0].content"; pydantic's names of the kinds of a union are left out."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "int", "list", "dict", "bool", "float"):
            text += f".{part}" if text else part
    return text
