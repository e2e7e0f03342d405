"""The endpoints of responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgelm.errors import EdgeLMError
from edgelm.runtime.events import Prefill
from edgelm.server.exchange.begin import admitted, begun, serving_of
from edgelm.server.exchange.body import read_request, refusal
from edgelm.server.http.endpoints import Endpoint
from edgelm.server.http.errors import refusal_of
from edgelm.server.http.events import EVENTS, KEEP_ALIVE, EventStream, event, while_connected
from edgelm.server.openai.responses.output import Item, ResponseOutput, new_id
from edgelm.server.openai.responses.prompt import ItemHistory, items_of
from edgelm.server.openai.responses.response import begun_response, ended_response, failed_response
from edgelm.server.openai.responses.response_request import ResponseRequest
from edgelm.server.openai.responses.store import ResponseStore, StoredResponse
from edgelm.server.openai.responses.toolbox import Toolbox, toolbox
from edgelm.server.replies import Reply, ReplyTask
from edgelm.server.residents import Resident

MOST_LISTED = 100


@dataclass(frozen=True)
class _Asked:
    """A request with what it goes on from."""

    request: ResponseRequest
    tools: Toolbox
    conversation: ItemHistory
    store: ResponseStore


@dataclass(frozen=True)
class _UnderWay:
    """A response whose reply has begun."""

    asked: _Asked
    response: dict[str, Any]
    output: ResponseOutput
    reply: Reply

    def ended(self) -> dict[str, Any]:
        """Return the response at its end, once the reply has; it is kept where the request does not forbid it."""
        assert self.output.end is not None
        response = ended_response(self.response, self.output.items, self.output.end)
        if response["store"]:
            conversation = self.asked.conversation
            self.asked.store.add(StoredResponse(response, conversation.before, _with_ids(conversation.input)))
        return response


async def create(request: Request) -> Response:
    """Answer `POST /v1/responses`."""
    asked = await _read(request)
    async with AsyncExitStack() as stack:
        under_way = await while_connected(request, _begin(stack, request, asked))
        if asked.request.stream:
            # The response takes over what is held.
            return EventStream(_stream(under_way), stack.pop_all())
        return JSONResponse(await while_connected(request, _finish(under_way)))
    raise AssertionError  # the stack passes every error on


async def count(request: Request) -> Response:
    """Answer `POST /v1/responses/input_tokens`."""
    asked = await _read(request)
    async with serving_of(request).residents.use(asked.request.model, asked.request.adapters) as resident:
        task = await while_connected(request, _task(resident, asked))
    return JSONResponse({"object": "response.input_tokens", "input_tokens": len(task.ids)})


async def retrieve(request: Request) -> Response:
    """Answer `GET /v1/responses/ID`."""
    if request.query_params.get("stream", "false").lower() != "false":
        raise refusal("stream", "is not supported here: what is kept has ended")
    return JSONResponse(_store(request).get(request.path_params["id"]).response)


async def delete(request: Request) -> Response:
    """Answer `DELETE /v1/responses/ID`."""
    name = request.path_params["id"]
    _store(request).delete(name)
    return JSONResponse({"id": name, "object": "response", "deleted": True})


async def input_items(request: Request) -> Response:
    """Answer `GET /v1/responses/ID/input_items`: those of the responses before it, and its own, the latest first."""
    stored = _store(request).get(request.path_params["id"])
    given = request.query_params
    order, limit, after = given.get("order", "desc"), given.get("limit", "20"), given.get("after")
    if order not in ("asc", "desc"):
        raise refusal("order", f"is {order!r}, expected asc or desc")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MOST_LISTED):
        raise refusal("limit", f"is {limit!r}, expected 1 to {MOST_LISTED}")
    items = [*stored.before, *stored.input]
    if order == "desc":
        items.reverse()
    ids = [item["id"] for item in items]
    if after is not None:
        if after not in ids:
            raise refusal("after", f"is {after!r}, which is none of the items")
        items = items[ids.index(after) + 1 :]
    page = items[: int(limit)]
    return JSONResponse(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(page) < len(items),
        }
    )


ENDPOINTS = [
    Endpoint(
        "POST", "/v1/responses", create, "Answer in a conversation.", body=ResponseRequest, stream=EVENTS
    ),
    Endpoint(
        "POST", "/v1/responses/input_tokens", count, "Count the tokens of a request.", body=ResponseRequest
    ),
    Endpoint(
        "GET",
        "/v1/responses/{id}",
        retrieve,
        "Give a response that has ended.",
        query={"stream": {"type": "boolean"}},
        refusals=(400, 401, 404, 500),
    ),
    Endpoint("DELETE", "/v1/responses/{id}", delete, "Forget a response.", refusals=(401, 404, 500)),
    Endpoint(
        "GET",
        "/v1/responses/{id}/input_items",
        input_items,
        "List what a response was asked with.",
        query={
            "order": {"enum": ["asc", "desc"]},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED},
            "after": {"type": "string"},
        },
        refusals=(400, 401, 404, 500),
    ),
]


def _store(request: Request) -> ResponseStore:
    store: ResponseStore = request.app.state.responses
    return store


async def _read(request: Request) -> _Asked:
    """The request, with the conversation that it goes on from."""
    asked = read_request(ResponseRequest, await request.body())
    tools = toolbox(asked.tools or (), asked.tool_choice, is_one=asked.parallel_tool_calls is False)
    store = _store(request)
    name = asked.previous_response_id
    before = store.get(name, "previous_response_id").items if name is not None else []
    return _Asked(asked, tools, ItemHistory(before, items_of(asked.input)), store)


def _task(resident: Resident, asked: _Asked) -> Awaitable[ReplyTask]:
    return resident.in_text_thread(
        asked.conversation.task, asked.request, asked.tools, asked.store.item, resident.model
    )


async def _begin(stack: AsyncExitStack, request: Request, asked: _Asked) -> _UnderWay:
    resident = await admitted(stack, request, asked.request.model, 1, asked.request.adapters)
    task = await _task(resident, asked)
    [reply] = await begun(stack, request, resident, [task])
    output = ResponseOutput(
        asked.tools,
        is_one_call=asked.request.parallel_tool_calls is False,
        summarizes=asked.request.summarizes,
        carries_thoughts=asked.request.carries_thoughts,
        has_logprobs=asked.request.has_logprobs,
    )
    return _UnderWay(asked, begun_response(asked.request, resident.name, task.options), output, reply)


async def _finish(under_way: _UnderWay) -> dict[str, Any]:
    async with aclosing(under_way.reply.events()) as events:
        async for each in events:
            for _ in under_way.output.of(each):
                pass
    return under_way.ended()


async def _stream(under_way: _UnderWay) -> AsyncGenerator[str, None]:
    number = 0

    def numbered(what: dict[str, Any]) -> str:
        nonlocal number
        sent = event({**what, "sequence_number": number}, what["type"])
        number += 1
        return sent

    for kind in ("response.created", "response.in_progress"):
        yield numbered({"type": kind, "response": under_way.response})
    try:
        async with aclosing(under_way.reply.events()) as events:
            async for each in events:
                if isinstance(each, Prefill):
                    yield KEEP_ALIVE
                for what in under_way.output.of(each):
                    yield numbered(what)
    except EdgeLMError as error:
        failed = failed_response(under_way.response, under_way.output.items, refusal_of(error).message)
        yield numbered({"type": "response.failed", "response": failed})
        return
    response = under_way.ended()
    yield numbered({"type": f"response.{response['status']}", "response": response})


def _with_ids(items: Sequence[Item]) -> list[Item]:
    return [{"id": new_id(item.get("type", "")), **item} for item in items]
