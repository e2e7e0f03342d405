"""What has to be there before anything is answered: the model, places for its replies, and each reply's first event."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from starlette.requests import Request

from edgelm.server.replies import Reply, ReplyTask
from edgelm.server.residents import Resident
from edgelm.server.serving import Serving


def serving_of(request: Request) -> Serving:
    """Return the state of the server that a request came to."""
    serving: Serving = request.app.state.serving
    return serving


async def admitted(
    stack: AsyncExitStack, request: Request, model: str | None, count: int, adapters: Sequence[str] = ()
) -> Resident:
    """Return the model of a request, held with the places of `count` replies until `stack` ends.

    Raises:
        RequestError: there are not so many places.
        NotFoundError, UnsupportedError, FormatError, FitError: see `Residents.use`.
    """
    serving = serving_of(request)
    stack.enter_context(serving.admission.admitted(count))
    return await stack.enter_async_context(serving.residents.use(model, adapters))


async def begun(
    stack: AsyncExitStack, request: Request, resident: Resident, each: Sequence[ReplyTask]
) -> list[Reply]:
    """Return replies that have all begun; they are stopped when `stack` ends.

    Raises:
        PromptError, OptionError, FitError, EngineError: see `Reply.begun`.
    """
    metrics, replies = serving_of(request).metrics, []
    for asked in each:
        reply = await Reply.begun(resident, asked, metrics)
        stack.push_async_callback(reply.close)
        replies.append(reply)
    return replies
