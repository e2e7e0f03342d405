"""The outermost of what a request passes: it is counted, written to the log, and a fault of ours ends it and nothing else.

The log has path, status and time of a request. Of a fault it has the kind and the place in the code: the message of an
exception may hold what was asked.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgelm.log import logger
from edgelm.server.http.errors import RequestError
from edgelm.server.http.guards import ErrorResponse

CLIENT_CLOSED = 499
"""nginx's status for an asker that has gone; only logs and metrics see it."""


class RequestLog:
    """Counts requests by path and status, and writes a line of each to the log: never what was asked.

    Args:
        count: called with the path's pattern and the status of every request.
        respond: writes an error as the API of the path does.
    """

    def __init__(self, app: ASGIApp, count: Callable[[str, int], object], respond: ErrorResponse) -> None:
        self._app, self._count, self._respond = app, count, respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; where that fails as nobody foresaw, answer with 500, or close what has been begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            fault = await self._fault_of(scope, receive, told)
            if (
                fault is not None
            ):  # written down here, where no exception is under way that a failing log would show
                logger.error("%s failed\n%s", _pattern(scope), fault)
                if not status:
                    refusal = RequestError(500, "the server has failed at this request", code="server_error")
                    await self._respond(scope, refusal)(scope, receive, told)
                # Else the status has been sent: returning without an end has the connection closed.
        finally:
            self._count(_pattern(scope), status or CLIENT_CLOSED)
            logger.info(
                "%s %s %s %.2f s",
                scope["method"],
                _pattern(scope),
                status or CLIENT_CLOSED,
                time.monotonic() - began,
            )

    async def _fault_of(self, scope: Scope, receive: Receive, send: Send) -> str | None:
        """Pass a request on; where that fails as nobody foresaw, return where it did."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is no other request's business
            return without_messages(error)
        return None


def without_messages(error: BaseException) -> str:
    """Return where an exception and its causes came from, line by line of the code, without a word of their messages."""
    lines: list[str] = []
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        lines += [*traceback.format_tb(cause.__traceback__), f"{type(cause).__qualname__}\n"]
        cause = cause.__cause__ or cause.__context__
    return "".join(lines).rstrip()


def _pattern(scope: Scope) -> str:
    """The path as the route has it: a path of the asker's own may hold anything."""
    return str(getattr(scope.get("route"), "path", "other"))
