"""The endpoints of OpenAI's API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgelm.errors import EdgeLMError
from edgelm.runtime.events import Prefill
from edgelm.server.exchange.begin import admitted, begun
from edgelm.server.exchange.body import read_request
from edgelm.server.exchange.merged import merged
from edgelm.server.http.endpoints import Api, Endpoint
from edgelm.server.http.errors import RequestError, refusal_of
from edgelm.server.http.events import EVENTS, KEEP_ALIVE, EventStream, event, while_connected
from edgelm.server.openai.chat_request import ChatRequest
from edgelm.server.openai.choices import ChatChoice, TextChoice
from edgelm.server.openai.completion_request import CompletionRequest
from edgelm.server.openai.embedding_request import EmbeddingRequest
from edgelm.server.openai.fields import CommonFields
from edgelm.server.openai.responses.routes import ENDPOINTS as RESPONSES
from edgelm.server.openai.wire import ERROR, error_body, error_response, head, usage_of
from edgelm.server.replies import Reply

Choice = ChatChoice | TextChoice


@dataclass(frozen=True)
class _Answer:
    """The choices of one answer, whose replies have begun."""

    head: dict[str, Any]
    choices: Sequence[Choice]
    replies: Sequence[Reply]
    each: int
    """Choices of one prompt."""

    def usage(self) -> dict[str, Any]:
        counted = [(choice.usage, index % self.each == 0) for index, choice in enumerate(self.choices)]
        return usage_of((usage, is_first) for usage, is_first in counted if usage is not None)


async def chat_completions(request: Request) -> Response:
    """Answer `POST /v1/chat/completions`."""
    asked = read_request(ChatRequest, await request.body())

    async def begin(stack: AsyncExitStack) -> _Answer:
        resident = await admitted(stack, request, asked.model, asked.choices, asked.adapters)
        one = await resident.in_text_thread(asked.asked, resident.model)
        choices = [
            ChatChoice(
                index,
                asked.forced,
                is_one_call=asked.parallel_tool_calls is False,
                has_logprobs=bool(asked.logprobs),
            )
            for index in range(asked.choices)
        ]
        replies = await begun(stack, request, resident, [replace(one, count=asked.choices)])
        return _Answer(head("chat.completion", "chatcmpl", resident.name), choices, replies, asked.choices)

    return await _respond(request, asked, begin)


async def completions(request: Request) -> Response:
    """Answer `POST /v1/completions`."""
    asked = read_request(CompletionRequest, await request.body())
    count = asked.choices * len(asked.prompts)

    async def begin(stack: AsyncExitStack) -> _Answer:
        resident = await admitted(stack, request, asked.model, count, asked.adapters)
        each = await resident.in_text_thread(asked.asked, resident.model)
        choices = [TextChoice(index, has_logprobs=asked.logprobs is not None) for index in range(count)]
        replies = await begun(stack, request, resident, [replace(one, count=asked.choices) for one in each])
        return _Answer(head("text_completion", "cmpl", resident.name), choices, replies, asked.choices)

    return await _respond(request, asked, begin)


async def embeddings(request: Request) -> Response:
    """Refuse `POST /v1/embeddings`: what is served here writes text."""
    raise RequestError(
        400,
        "the models of this server write text and make no embeddings",
        param="model",
        code="unsupported_model",
    )


OPENAI = Api(
    "OpenAI",
    ("/v1/",),
    [
        Endpoint(
            "POST",
            "/v1/chat/completions",
            chat_completions,
            "Answer in a chat.",
            body=ChatRequest,
            stream=EVENTS,
        ),
        Endpoint(
            "POST",
            "/v1/completions",
            completions,
            "Continue texts.",
            body=CompletionRequest,
            stream=EVENTS,
        ),
        *RESPONSES,
        Endpoint(
            "POST", "/v1/embeddings", embeddings, "Refuse: the models here write text.", body=EmbeddingRequest
        ),
    ],
    error_response,
    ERROR,
)


async def _respond(
    request: Request, asked: CommonFields, begin: Callable[[AsyncExitStack], Awaitable[_Answer]]
) -> Response:
    """Begin an answer, and send it whole or as it comes."""
    async with AsyncExitStack() as stack:
        answer = await while_connected(request, begin(stack))
        if asked.stream:
            # The response takes over what is held.
            return EventStream(_stream(answer, includes_usage=asked.includes_usage), stack.pop_all())
        await while_connected(request, _finish(answer))
        return JSONResponse(
            {
                **answer.head,
                "choices": [choice.message() for choice in answer.choices],
                "usage": answer.usage(),
            }
        )
    raise AssertionError  # the stack passes every error on


async def _finish(answer: _Answer) -> None:
    async with aclosing(merged(answer.replies)) as events:
        async for index, each in events:
            for _ in answer.choices[index].pieces(each):
                pass


async def _stream(answer: _Answer, *, includes_usage: bool) -> AsyncGenerator[str, None]:
    kind = answer.head["object"]
    head_ = {**answer.head, "object": "chat.completion.chunk" if kind == "chat.completion" else kind}
    rest = {"usage": None} if includes_usage else {}

    def chunk(piece: dict[str, Any]) -> str:
        return event({**head_, "choices": [piece], **rest})

    for choice in answer.choices:
        if (opening := choice.opening()) is not None:
            yield chunk(opening)
    try:
        async with aclosing(merged(answer.replies)) as events:
            async for index, each in events:
                if isinstance(each, Prefill):
                    yield KEEP_ALIVE
                for piece in answer.choices[index].pieces(each):
                    yield chunk(piece)
    except EdgeLMError as error:
        # The status has been sent: the error is an event of the stream, and no end follows that looks like a good one.
        yield event(error_body(refusal_of(error)))
        return
    if includes_usage:
        yield event({**head_, "choices": [], "usage": answer.usage()})
    yield event("[DONE]")
