"""The message of an answer, built from the events of its reply: a stream of Anthropic's events, or whole.

The order is that of https://platform.claude.com/docs/en/build-with-claude/streaming: `message_start`; of each content block
`content_block_start`, any number of `content_block_delta`, `content_block_stop`; `message_delta`; `message_stop`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from edgelm.runtime.events import ChatEvent, Text
from edgelm.server.anthropic.message_request import MessageRequest
from edgelm.server.anthropic.thinking import signature_of
from edgelm.server.anthropic.wire import call_id, new_id, usage_of
from edgelm.server.exchange.parts import AnswerEnd, AnswerParts, FunctionCall

StreamEvent = dict[str, Any]


class MessageAnswer:
    """One message: events of a reply in, events of a stream out; `message` is what they come to.

    Args:
        asked: the request.
        prompt_tokens: of its prompt.
        cached_tokens: of these, those that had been computed before.
    """

    def __init__(self, asked: MessageRequest, prompt_tokens: int, cached_tokens: int) -> None:
        self._asked = asked
        self._parts = AnswerParts(asked.forced, is_one_call=asked.is_one_call)
        self._blocks: list[dict[str, Any]] = []
        self._is_open = False
        self._space = ""
        self._message: dict[str, Any] = {
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(prompt_tokens, cached_tokens, 0),
        }

    def opening(self) -> StreamEvent:
        """Return the first event."""
        return {"type": "message_start", "message": {**self._message, "content": []}}

    def events(self, event: ChatEvent) -> Iterator[StreamEvent]:
        """Yield what an event of the reply adds."""
        for part in self._parts.of(event):
            match part:
                case AnswerEnd():
                    yield from self._ended(part)
                case _ if self._asked.only_warms:
                    pass
                case Text(text, "answer"):
                    yield from self._said(text)
                case Text(text):
                    yield from self._thought(text)
                case FunctionCall():
                    yield from self._called(part)

    def message(self) -> dict[str, Any]:
        """Return the whole message."""
        content = [dict(block) for block in self._blocks]
        for block in content:
            if block["type"] == "thinking" and not self._asked.shows_thinking:
                block["thinking"] = ""
        return {**self._message, "content": content}

    def _said(self, text: str) -> Iterator[StreamEvent]:
        if not (self._is_open and self._blocks[-1]["type"] == "text"):
            # Newlines between thinking, an answer and calls are no blocks of text, which clients would show and send back.
            self._space += text
            if not self._space.strip():
                return
            text, self._space = self._space, ""
            yield from self._start({"type": "text", "text": ""})
        self._blocks[-1]["text"] += text
        yield self._delta({"type": "text_delta", "text": text})

    def _thought(self, text: str) -> Iterator[StreamEvent]:
        if not (self._is_open and self._blocks[-1]["type"] == "thinking"):
            yield from self._start({"type": "thinking", "thinking": "", "signature": ""})
        self._blocks[-1]["thinking"] += text
        if self._asked.shows_thinking:
            yield self._delta({"type": "thinking_delta", "thinking": text})

    def _called(self, call: FunctionCall) -> Iterator[StreamEvent]:
        block = {"type": "tool_use", "id": call_id(call.id), "name": call.name, "input": {}}
        yield from self._start(block)
        self._blocks[-1]["input"] = dict(call.arguments)
        text = json.dumps(call.arguments, ensure_ascii=False)
        yield self._delta({"type": "input_json_delta", "partial_json": text})

    def _start(self, block: dict[str, Any]) -> Iterator[StreamEvent]:
        yield from self._stop()
        self._space = ""
        self._blocks.append(dict(block))
        self._is_open = True
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _stop(self) -> Iterator[StreamEvent]:
        if not self._is_open:
            return
        block = self._blocks[-1]
        if block["type"] == "thinking":
            block["signature"] = signature_of(block["thinking"], is_shown=self._asked.shows_thinking)
            yield self._delta({"type": "signature_delta", "signature": block["signature"]})
        self._is_open = False
        yield {"type": "content_block_stop", "index": self._index}

    def _delta(self, delta: dict[str, Any]) -> StreamEvent:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    @property
    def _index(self) -> int:
        return len(self._blocks) - 1

    def _ended(self, end: AnswerEnd) -> Iterator[StreamEvent]:
        yield from self._stop()
        usage = end.usage
        output = 0 if self._asked.only_warms else usage.completion_tokens
        stop = {"stop_reason": self._reason(end), "stop_sequence": None}
        if stop["stop_reason"] == "stop_sequence":
            stop["stop_sequence"] = end.matched
        self._message |= {**stop, "usage": usage_of(usage.prompt_tokens, usage.cached_tokens, output)}
        if self._asked.context_management is not None:
            self._message["context_management"] = {"applied_edits": []}
        yield {
            "type": "message_delta",
            "delta": stop,
            "usage": self._message["usage"],
            **(
                {"context_management": {"applied_edits": []}}
                if self._asked.context_management is not None
                else {}
            ),
        }
        yield {"type": "message_stop"}

    def _reason(self, end: AnswerEnd) -> str:
        if self._asked.only_warms:
            return "max_tokens"
        if end.reason == "length":
            is_full = end.usage.completion_tokens < self._asked.max_tokens
            return "model_context_window_exceeded" if is_full else "max_tokens"
        if end.reason == "calls":
            return "tool_use"
        return "end_turn" if end.matched is None else "stop_sequence"
