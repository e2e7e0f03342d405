"""What a reply becomes: items of a response, and the events of a stream that tell of them, in the order that OpenAI documents.

An item is added, filled and done before the next one is.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterator
from typing import Any

from edgelm.runtime.events import ChatEvent, Text, Token
from edgelm.server.exchange.logprobs import token_logprobs
from edgelm.server.exchange.parts import AnswerEnd, AnswerParts, FunctionCall
from edgelm.server.openai.responses.thoughts import wrap
from edgelm.server.openai.responses.toolbox import Toolbox

Event = dict[str, Any]
Item = dict[str, Any]

_PREFIXES = {
    "message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc", "local_shell_call": "lsc",
}  # fmt: skip
_ARGUMENTS = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}
"""Kind of a call → the events that fill it, and its field that they fill."""


def new_id(kind: str) -> str:
    """Return an id for an item of a kind, or for a response."""
    return f"{_PREFIXES.get(kind, 'resp' if kind == 'response' else 'item')}_{secrets.token_hex(24)}"


class ResponseOutput:
    """Events of one reply in, events of a stream out, still without numbers; `items` are what they come to.

    Args:
        tools: those that may be called.
        is_one_call: later calls are left out.
        summarizes: thinking is shown as its own summary.
        carries_thoughts: the client keeps the thinking.
        has_logprobs: log-probabilities were asked for.
    """

    def __init__(
        self,
        tools: Toolbox,
        *,
        is_one_call: bool,
        summarizes: bool,
        carries_thoughts: bool,
        has_logprobs: bool,
    ) -> None:
        self._tools = tools
        self._parts = AnswerParts(tools.forced, is_one_call=is_one_call)
        self._summarizes, self._carries, self._has_logprobs = summarizes, carries_thoughts, has_logprobs
        self._waiting: list[Token] = []
        self._open: _OpenText | None = None
        self.items: list[Item] = []
        self.end: AnswerEnd | None = None

    def of(self, event: ChatEvent) -> Iterator[Event]:
        """Yield what an event adds."""
        if isinstance(event, Token):
            self._waiting.append(event)
        for part in self._parts.of(event):
            match part:
                case Text():
                    yield from self._say(part)
                case FunctionCall():
                    yield from self._close("completed")
                    yield from self._call(part)
                case AnswerEnd():
                    yield from self._finish(part)

    def _say(self, said: Text) -> Iterator[Event]:
        is_thinking = said.channel == "thinking"
        if self._open is None or self._open.is_thinking != is_thinking:
            yield from self._close("completed")
            self._open = _OpenText(
                len(self.items), is_thinking=is_thinking, summarizes=self._summarizes, carries=self._carries
            )
            self.items.append(self._open.item)
            yield from self._open.opening()
            while len("".join(token.text for token in self._waiting)) > len(said.text):
                del self._waiting[0]  # marks that led here
        tokens, self._waiting = self._waiting, []
        logprobs = token_logprobs(tokens) if self._has_logprobs and not is_thinking else []
        yield self._open.add(said.text, logprobs)

    def _close(self, status: str) -> Iterator[Event]:
        closing, self._open = self._open, None
        if closing is not None:
            yield from closing.closing(status)

    def _call(self, called: FunctionCall) -> Iterator[Event]:
        item = self._tools.of(called.name).item(called.id, called.arguments)
        item = {"id": new_id(item["type"]), "status": "completed", **item}
        at = {"item_id": item["id"], "output_index": len(self.items)}
        self.items.append(item)
        events, field = _ARGUMENTS.get(item["type"], ("", ""))
        empty = {field: ""} if field else {}
        yield _added(at["output_index"], {**item, "status": "in_progress", **empty})
        if field:
            yield {"type": f"{events}.delta", **at, "delta": item[field]}
            named = {"name": item["name"]} if item["type"] == "function_call" else {}
            yield {"type": f"{events}.done", **at, **named, field: item[field]}
        yield _done(at["output_index"], item)

    def _finish(self, end: AnswerEnd) -> Iterator[Event]:
        self.end = end
        yield from self._close("incomplete" if end.reason == "length" else "completed")
        if end.reason != "length" and all(item["type"] == "reasoning" for item in self.items):
            # An answer without a word is one all the same.
            empty = _OpenText(len(self.items), is_thinking=False)
            self.items.append(empty.item)
            yield from empty.opening()
            yield from empty.closing("completed")


class _OpenText:
    """A message or a piece of thinking that is being said: its item, and the events of its one part."""

    def __init__(
        self, index: int, *, is_thinking: bool, summarizes: bool = False, carries: bool = False
    ) -> None:
        self.is_thinking, self._carries = is_thinking, carries
        self._index = index
        kind = "reasoning" if is_thinking else "message"
        self.item: Item = {"id": new_id(kind), "type": kind, "status": "in_progress"}
        self._at = {"item_id": self.item["id"], "output_index": index, "content_index": 0}
        self._part: dict[str, Any]
        self._field, self._of_part, self._of_text = "content", "response.content_part", "response.output_text"
        if not is_thinking:
            self.item |= {"role": "assistant", "content": []}
            self._part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            return
        self.item |= {"summary": [], "content": []}
        self._part = {"type": "reasoning_text", "text": ""}
        self._of_text = "response.reasoning_text"
        if summarizes:
            self._part = {"type": "summary_text", "text": ""}
            self._field, self._of_part = "summary", "response.reasoning_summary_part"
            self._of_text = "response.reasoning_summary_text"
            self._at = {"item_id": self.item["id"], "output_index": index, "summary_index": 0}

    def opening(self) -> Iterator[Event]:
        yield _added(self._index, copy.deepcopy(self.item))
        yield {"type": f"{self._of_part}.added", **self._at, "part": copy.deepcopy(self._part)}

    def add(self, text: str, logprobs: list[dict[str, Any]]) -> Event:
        self._part["text"] += text
        more = {}
        if not self.is_thinking:
            self._part["logprobs"] += logprobs
            more = {"logprobs": logprobs}
        return {"type": f"{self._of_text}.delta", **self._at, "delta": text, **more}

    def closing(self, status: str) -> Iterator[Event]:
        part, more = self._part, {}
        if not self.is_thinking:
            more = {"logprobs": part["logprobs"]}
        elif self._carries:
            self.item["encrypted_content"] = wrap(part["text"])
        self.item[self._field].append(part)
        self.item["status"] = status
        yield {"type": f"{self._of_text}.done", **self._at, "text": part["text"], **more}
        yield {"type": f"{self._of_part}.done", **self._at, "part": part}
        yield _done(self._index, self.item)


def _added(index: int, item: Item) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _done(index: int, item: Item) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": item}
