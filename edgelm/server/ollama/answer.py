"""An answer, built from the events of its reply: a line at a time, or one line that holds all of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from edgelm.runtime.events import ChatEvent, Text, Token, ToolCall, Usage
from edgelm.server.exchange.logprobs import token_logprobs
from edgelm.server.exchange.parts import AnswerEnd, AnswerParts, FunctionCall
from edgelm.server.ollama.names import moment

Line = dict[str, Any]

NS_PER_S = 1_000_000_000


class OllamaAnswer:
    """One answer: events of a reply in, lines of a stream out; `whole` is what they come to.

    Args:
        model: its name, as it was asked for.
        is_chat: whether the answer is a message; else it is a text, in which a call is what its text says.
        has_logprobs: whether log-probabilities were asked for.
        began_at: when the request came, by `time.perf_counter`.
        load_s: what it took to have the model.
    """

    def __init__(
        self, model: str, *, is_chat: bool, has_logprobs: bool, began_at: float, load_s: float = 0.0
    ) -> None:
        self._model, self._is_chat, self._has_logprobs = model, is_chat, has_logprobs
        self._began_at, self._load_s = began_at, load_s
        self._parts = AnswerParts(None, is_one_call=False)
        self._texts = {"answer": "", "thinking": ""}
        self._calls: list[dict[str, Any]] = []
        self._waiting: list[Token] = []
        self._tokens: list[Token] = []
        self._end: Line = {}

    def lines(self, event: ChatEvent) -> Iterator[Line]:
        """Yield what an event of the reply adds."""
        match event:
            case Token():
                self._waiting.append(event)
                self._tokens.append(event)
            case ToolCall(text=text) if not self._is_chat:
                yield self._said("answer", text)
            case _:
                for part in self._parts.of(event):
                    match part:
                        case Text(text, channel):
                            yield self._said("thinking" if channel == "thinking" else "answer", text)
                        case FunctionCall():
                            yield self._called(part)
                        case AnswerEnd():
                            self._end = self._ended(
                                part.usage, "length" if part.reason == "length" else "stop"
                            )
                            yield self._line({"answer": ""}, self._end)

    def whole(self) -> Line:
        """Return the answer in one."""
        given = {key: text for key, text in self._texts.items() if text or key == "answer"}
        self._waiting = self._tokens
        return self._line(given, self._end, self._calls)

    def only(self, reason: str) -> Line:
        """Return the answer of a request that asked for none: the model is there ("load"), or let go ("unload")."""
        return self._line({"answer": ""}, {"done": True, "done_reason": reason})

    def _said(self, channel: str, text: str) -> Line:
        self._texts[channel] += text
        return self._line({"answer": "", channel: text})

    def _called(self, call: FunctionCall) -> Line:
        function = {"index": len(self._calls), "name": call.name, "arguments": dict(call.arguments)}
        self._calls.append({"id": call.id, "function": function})
        return self._line({"answer": ""}, calls=self._calls[-1:])

    def _line(self, texts: dict[str, str], rest: Line | None = None, calls: Any = ()) -> Line:
        line: Line = {"model": self._model, "created_at": moment(time.time())}
        thinking = {"thinking": texts["thinking"]} if "thinking" in texts else {}
        if self._is_chat:
            called = {"tool_calls": list(calls)} if calls else {}
            line["message"] = {"role": "assistant", "content": texts["answer"], **thinking, **called}
        else:
            line |= {"response": texts["answer"], **thinking}
        tokens, self._waiting = self._waiting, []
        if self._has_logprobs and tokens:
            line["logprobs"] = token_logprobs(tokens)
        return {**line, **(rest or {"done": False})}

    def _ended(self, usage: Usage, reason: str) -> Line:
        seconds = {
            "total_duration": time.perf_counter() - self._began_at,
            "load_duration": self._load_s,
            "prompt_eval_duration": usage.prefill_s,
            "eval_duration": usage.decode_s,
        }
        return {
            "done": True,
            "done_reason": reason,
            "prompt_eval_count": usage.prompt_tokens,
            "eval_count": usage.completion_tokens,
            **{name: round(value * NS_PER_S) for name, value in seconds.items()},
        }
