"""The choices of an answer, built from the events of their replies: a piece at a time, or whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from edgelm.runtime.events import ChatEvent, Finished, Text, Token, ToolCall, Usage
from edgelm.server.exchange.calls import ForcedCalls
from edgelm.server.exchange.parts import AnswerEnd, AnswerParts, FunctionCall
from edgelm.server.openai.wire import chat_logprobs, text_logprobs

Piece = dict[str, Any]


class ChatChoice:
    """One answer of a chat: events in, pieces of a stream out; `message` is what they come to.

    Args:
        index: its number among the choices.
        forced: the calls that the answer is made of, where the request insists on some.
        is_one_call: later calls are left out.
        has_logprobs: log-probabilities were asked for.
    """

    def __init__(
        self, index: int, forced: ForcedCalls | None, *, is_one_call: bool, has_logprobs: bool
    ) -> None:
        self._index, self._has_logprobs = index, has_logprobs
        self._parts = AnswerParts(forced, is_one_call=is_one_call)
        self._waiting: list[Token] = []
        self._tokens: list[Token] = []
        self._texts = {"content": "", "reasoning_content": ""}
        self._calls: list[dict[str, Any]] = []
        self._reason: str | None = None
        self.usage: Usage | None = None

    def opening(self) -> Piece:
        """Return the first piece: who speaks."""
        return self._piece({"role": "assistant", "content": ""})

    def pieces(self, event: ChatEvent) -> Iterator[Piece]:
        """Yield what an event adds."""
        if isinstance(event, Token):
            self._waiting.append(event)
            self._tokens.append(event)
        for part in self._parts.of(event):
            match part:
                case Text(text, channel):
                    yield self._said("content" if channel == "answer" else "reasoning_content", text)
                case FunctionCall():
                    yield self._call(part)
                case AnswerEnd():
                    self.usage = part.usage
                    self._reason = "tool_calls" if part.reason == "calls" else part.reason
                    yield self._piece({}, self._reason)

    def message(self) -> Piece:
        """Return the whole choice."""
        said: Piece = {
            "role": "assistant",
            "content": self._texts["content"] or (None if self._calls else ""),
            "refusal": None,
        }
        if self._texts["reasoning_content"]:
            said["reasoning_content"] = self._texts["reasoning_content"]
        if self._calls:
            said["tool_calls"] = self._calls
        return {
            "index": self._index,
            "message": said,
            "logprobs": chat_logprobs(self._tokens) if self._has_logprobs else None,
            "finish_reason": self._reason,
        }

    def _said(self, field: str, text: str) -> Piece:
        self._texts[field] += text
        return self._piece({field: text})

    def _call(self, called: FunctionCall) -> Piece:
        arguments = json.dumps(called.arguments, ensure_ascii=False)
        function = {"name": called.name, "arguments": arguments}
        call = {"id": called.id, "type": "function", "function": function}
        self._calls.append(call)
        return self._piece({"tool_calls": [{"index": len(self._calls) - 1, **call}]})

    def _piece(self, delta: Piece, reason: str | None = None) -> Piece:
        tokens, self._waiting = self._waiting, []
        logprobs = chat_logprobs(tokens) if self._has_logprobs and tokens else None
        return {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


class TextChoice:
    """One continuation of a text; see `ChatChoice`."""

    def __init__(self, index: int, *, has_logprobs: bool) -> None:
        self._index, self._has_logprobs = index, has_logprobs
        self._waiting: list[Token] = []
        self._tokens: list[Token] = []
        self._text = ""
        self._offset = 0
        self._reason: str | None = None
        self.usage: Usage | None = None

    def opening(self) -> Piece | None:
        """Return None: a text begins with its first piece."""

    def pieces(self, event: ChatEvent) -> Iterator[Piece]:
        """Yield what an event adds."""
        match event:
            case Token():
                self._waiting.append(event)
                self._tokens.append(event)
            case Text(text):
                self._text += text
                yield self._piece(text)
            case ToolCall(text=text):
                self._text += text
                yield self._piece(text)
            case Finished():
                self.usage = event.usage
                self._reason = "length" if event.reason == "length" else "stop"
                yield self._piece("", self._reason)

    def message(self) -> Piece:
        """Return the whole choice."""
        logprobs = text_logprobs(self._tokens, 0) if self._has_logprobs else None
        return {"index": self._index, "text": self._text, "logprobs": logprobs, "finish_reason": self._reason}

    def _piece(self, text: str, reason: str | None = None) -> Piece:
        tokens, self._waiting = self._waiting, []
        logprobs = text_logprobs(tokens, self._offset) if self._has_logprobs and tokens else None
        self._offset += sum(len(token.text) for token in tokens)
        return {"index": self._index, "text": text, "logprobs": logprobs, "finish_reason": reason}
