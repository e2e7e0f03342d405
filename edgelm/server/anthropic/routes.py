"""The endpoints of Anthropic's API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgelm.errors import EdgeLMError
from edgelm.runtime.events import Prefill
from edgelm.server.anthropic.message import MessageAnswer, StreamEvent
from edgelm.server.anthropic.message_request import CountRequest, MessageRequest
from edgelm.server.anthropic.wire import ERROR, error_body, error_response, new_id
from edgelm.server.exchange.begin import admitted, begun, serving_of
from edgelm.server.exchange.body import read_request
from edgelm.server.http.endpoints import Api, Endpoint
from edgelm.server.http.errors import refusal_of
from edgelm.server.http.events import EVENTS, KEEP_ALIVE, EventStream, event, while_connected
from edgelm.server.replies import Reply


async def messages(request: Request) -> Response:
    """Answer `POST /v1/messages`."""
    asked = read_request(MessageRequest, await request.body())

    async def begin(stack: AsyncExitStack) -> tuple[Reply, MessageAnswer]:
        resident = await admitted(stack, request, asked.model, 1, asked.adapters)
        task = await resident.in_text_thread(asked.asked, resident.model)
        [reply] = await begun(stack, request, resident, [task])
        return reply, MessageAnswer(asked, len(task.ids), reply.cached_tokens)

    headers = {"request-id": new_id("req")}
    async with AsyncExitStack() as stack:
        reply, answer = await while_connected(request, begin(stack))
        if asked.stream:
            # The response takes over what is held.
            stream = EventStream(_stream(reply, answer), stack.pop_all())
            stream.headers.update(headers)
            return stream
        await while_connected(request, _finish(reply, answer))
        return JSONResponse(answer.message(), headers=headers)
    raise AssertionError  # the stack passes every error on


async def count_tokens(request: Request) -> Response:
    """Answer `POST /v1/messages/count_tokens`: the tokens of the prompt that `messages` would make."""
    asked = read_request(CountRequest, await request.body())
    async with serving_of(request).residents.use(asked.model, asked.adapters) as resident:
        task = await while_connected(request, resident.in_text_thread(asked.asked, resident.model))
    body: dict[str, Any] = {"input_tokens": len(task.ids)}
    if asked.context_management is not None:
        body["context_management"] = {"original_input_tokens": len(task.ids)}
    return JSONResponse(body, headers={"request-id": new_id("req")})


async def _finish(reply: Reply, answer: MessageAnswer) -> None:
    async with aclosing(reply.events()) as events:
        async for each in events:
            for _ in answer.events(each):
                pass


async def _stream(reply: Reply, answer: MessageAnswer) -> AsyncGenerator[str, None]:
    yield _event(answer.opening())
    has_begun = False
    try:
        async with aclosing(reply.events()) as events:
            async for each in events:
                if isinstance(each, Prefill):
                    yield KEEP_ALIVE
                for piece in answer.events(each):
                    yield _event(piece)
                    if piece["type"] == "content_block_start" and not has_begun:
                        has_begun = True
                        yield _event({"type": "ping"})
    except EdgeLMError as error:
        # The status has been sent: the error is an event of the stream, and no end follows that looks like a good one.
        yield _event(error_body(refusal_of(error)))


def _event(data: StreamEvent) -> str:
    return event(data, data["type"])


ANTHROPIC = Api(
    "Anthropic",
    ("/v1/messages",),
    [
        Endpoint(
            "POST", "/v1/messages", messages, "Write the next message.", body=MessageRequest, stream=EVENTS,
            refusals=(400, 401, 404, 413, 429, 500, 529),
        ),
        Endpoint(
            "POST", "/v1/messages/count_tokens", count_tokens, "Count the tokens of a prompt.", body=CountRequest,
            refusals=(400, 401, 404, 413, 500, 529),
        ),
    ],
    error_response,
    ERROR,
    header="anthropic-version",
)  # fmt: skip
