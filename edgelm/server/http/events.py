"""Server-sent events, and work that ends when its asker has gone.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

EVENTS = "text/event-stream"
"""The content type of server-sent events."""

KEEP_ALIVE = ": working\n\n"
"""A comment, which clients pass over: a long prompt does not look like a dead connection."""


class ClientGoneError(Exception):
    """The asker has closed the connection; nobody reads an answer."""


def event(data: Any, name: str | None = None) -> str:
    """Return one event with `data` as JSON, or as it is where it is text."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"


class EventStream(StreamingResponse):
    """Sends events, or lines of another type, as they come.

    The source is closed, and `held` let go of, when all are sent or the asker goes.
    """

    def __init__(self, source: AsyncGenerator[str, None], held: AsyncExitStack, media: str = EVENTS) -> None:
        # Buffering proxies would hold a stream back.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(source, media_type=media, headers=headers)
        self._source, self._held = source, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        async with self._held, aclosing(self._source):
            await super().__call__(scope, receive, send)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` gives; it is cancelled when the asker closes the connection, whose body has been read.

    Raises:
        ClientGoneError: it was.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            # It has to have ended: what it uses goes back to others.
            await asyncio.wait((task,))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
