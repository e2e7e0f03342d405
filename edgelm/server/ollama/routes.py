"""The endpoints of Ollama's API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgelm.errors import EdgeLMError
from edgelm.server.exchange.begin import admitted, begun, serving_of
from edgelm.server.exchange.body import read_request
from edgelm.server.http.endpoints import Api, Endpoint
from edgelm.server.http.errors import refusal_of
from edgelm.server.http.events import EventStream, while_connected
from edgelm.server.ollama.answer import OllamaAnswer
from edgelm.server.ollama.catalogue import CATALOGUE
from edgelm.server.ollama.chat_request import OllamaChatRequest
from edgelm.server.ollama.generate_request import OllamaGenerateRequest
from edgelm.server.ollama.names import ERROR, error_body, error_response, own_name
from edgelm.server.replies import Reply

LINES = "application/x-ndjson"
"""The content type of a stream: a JSON object a line."""


async def chat(request: Request) -> Response:
    """Answer `POST /api/chat`."""
    return await _respond(request, read_request(OllamaChatRequest, await request.body()))


async def generate(request: Request) -> Response:
    """Answer `POST /api/generate`."""
    return await _respond(request, read_request(OllamaGenerateRequest, await request.body()))


async def _respond(request: Request, asked: OllamaChatRequest | OllamaGenerateRequest) -> Response:
    began_at = time.perf_counter()
    residents, name = serving_of(request).residents, own_name(asked.model)

    def answer(load_s: float) -> OllamaAnswer:
        return OllamaAnswer(
            asked.model,
            is_chat=isinstance(asked, OllamaChatRequest),
            has_logprobs=bool(asked.logprobs),
            began_at=began_at,
            load_s=load_s,
        )

    async def begin(stack: AsyncExitStack) -> tuple[Reply | None, OllamaAnswer]:
        resident = await admitted(stack, request, name, 1, asked.adapters)
        answered = answer(time.perf_counter() - began_at)
        if asked.only_loads:
            return None, answered
        task = await resident.in_text_thread(asked.asked, resident.model)
        [reply] = await begun(stack, request, resident, [task])
        return reply, answered

    async with AsyncExitStack() as stack:
        if asked.lets_go:
            # Entered first, so done last: once the reply uses the model no more.
            named = await asyncio.to_thread(residents.named.find, name, asked.adapters)
            stack.push_async_callback(residents.release, named.base)
            if asked.only_loads:
                return JSONResponse(answer(0.0).only("unload"))
        reply, answered = await while_connected(request, begin(stack))
        if reply is None:
            return JSONResponse(answered.only("load"))
        if asked.is_stream:
            # The response takes over what is held.
            return EventStream(_stream(reply, answered), stack.pop_all(), LINES)
        await while_connected(request, _finish(reply, answered))
        return JSONResponse(answered.whole())
    raise AssertionError  # the stack passes every error on


async def _finish(reply: Reply, answer: OllamaAnswer) -> None:
    async with aclosing(reply.events()) as events:
        async for each in events:
            for _ in answer.lines(each):
                pass


async def _stream(reply: Reply, answer: OllamaAnswer) -> AsyncGenerator[str, None]:
    try:
        async with aclosing(reply.events()) as events:
            async for each in events:
                for line in answer.lines(each):
                    yield _line(line)
    except EdgeLMError as error:
        # The status has been sent: the error is a line of the stream, and no end follows that looks like a good one.
        yield _line(error_body(refusal_of(error)))


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"


OLLAMA = Api(
    "Ollama",
    ("/api/",),
    [
        Endpoint("POST", "/api/chat", chat, "Answer in a chat.", body=OllamaChatRequest, stream=LINES),
        Endpoint(
            "POST", "/api/generate", generate, "Answer a text.", body=OllamaGenerateRequest, stream=LINES
        ),
        *CATALOGUE,
    ],
    error_response,
    ERROR,
)
