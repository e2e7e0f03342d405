"""An answer as it is heard, and its way into the saved chats. Knows neither who asks nor what shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgelm.store.chat_schema import Message, State
from edgelm.store.chats import Chats

if TYPE_CHECKING:
    from edgelm.runtime.chat.tool_loop import ToolEvent
    from edgelm.runtime.events import OtherAnswer, ToolCall, Usage

_ENDINGS: Mapping[str, State] = {"stop": "complete", "length": "length"}


class AnswerRecord:
    """One answer under way, which fills a saved message that is in the state `writing`.

    Where the model calls functions, the results and the replies after them become messages below it, each written down before
    the next begins; the record is then of the last one.

    Attributes:
        message_id: the message that is being filled.
        text: the answer so far, without thinking and calls.
        usage: what the reply cost, once it has ended.
        error: why the answer failed.
        result_count: results of its calls that were heard.
        is_unwritten: whether something was heard that is not written down.
    """

    def __init__(self, chats: Chats, message: Message) -> None:
        self._chats = chats
        self._message = message
        self._begin(message)

    def _begin(self, message: Message) -> None:
        self.session_id, self.message_id = message.session_id, message.id
        self.text, self.thinking = message.content, message.thinking
        self.tool_calls: list[dict[str, Any]] = list(message.tool_calls)
        self.state: State = "writing"
        self.usage: Usage | None = None
        self.error: str | None = None
        self.hint: str | None = None
        self.is_unwritten = False
        self.result_count = 0
        self._last_result: int | None = None
        self._others: tuple[OtherAnswer, ...] = ()

    def hear(self, event: ToolEvent) -> None:
        """Note what happens in the answer.

        Raises:
            OutputError: the result of a call cannot be written down; texts are kept until `write`.
        """
        # Not before the first answer: the runtime's package prepares the processor for MLX, which takes a while.
        from edgelm.runtime.chat.tool_loop import ToolResult
        from edgelm.runtime.events import Finished, Picked, Text, ToolCall

        if self._last_result is not None and not isinstance(event, ToolResult):
            self._begin_next(self._last_result)
        match event:
            case Text(text, channel):
                if channel == "thinking":
                    self.thinking += text
                elif channel == "answer":
                    self.text += text
                self.is_unwritten = True
            case ToolCall():
                self.tool_calls.append(_saved_call(event))
                self.is_unwritten = True
            case Picked():
                self._others = event.others
            case Finished(reason, usage):
                self.usage = usage
                self.state = _ENDINGS.get(reason, "stopped")
            case ToolResult():
                self.add_result(event.text)

    @property
    def last_id(self) -> int:
        """The message at which the conversation stands now: the answer, or the result of its last call."""
        return self.message_id if self._last_result is None else self._last_result

    def add_result(self, text: str) -> None:
        """Put down what a call of the answer came to, below it."""
        self.finish()
        self._last_result = self._chats.add(self.session_id, self.last_id, "tool", text).id
        self.result_count += 1

    def fail(self, error: str, hint: str | None) -> None:
        """Note that the answer could not be made, or not to its end."""
        self.state, self.error, self.hint = "failed", error, hint

    def write(self) -> None:
        """Put down what was heard so far.

        Raises:
            OutputError: the database refuses.
        """
        self._chats.write(self.message_id, self.text, thinking=self.thinking, tool_calls=self.tool_calls)
        self.is_unwritten = False

    def finish(self) -> None:
        """Put down all of the answer and how it ended; one that did not end was stopped.

        Raises:
            OutputError: the database refuses.
        """
        if self._last_result is not None:  # the reply was finished before its results, and no other has begun
            return
        self.state = "stopped" if self.state == "writing" else self.state
        self.write()
        usage = dataclasses.asdict(self.usage) if self.usage else {}
        self._chats.finish(self.message_id, self.state, usage=usage)
        self._keep_others()

    def _keep_others(self) -> None:
        """Put the answers that were drawn and not chosen beside this one, which stays the one that is shown."""
        others, self._others = self._others, ()
        message = self._chats.message(self.message_id) if others else None
        if message is None:
            return
        for other in reversed(others):  # so that the next best stands nearest
            self._chats.add(
                self.session_id,
                message.parent_id,
                "assistant",
                other.text,
                thinking=other.thinking,
                state=_ENDINGS.get(other.reason, "stopped"),
                model=message.model,
                adapter=message.adapter,
                made_under=message.made_under,
            )
        self._chats.show(self.message_id)

    def over(self, message: Message) -> Message:
        """Return the saved message as it was heard, whether that is written down or not."""
        return dataclasses.replace(
            message,
            content=self.text,
            thinking=self.thinking,
            tool_calls=tuple(self.tool_calls),
            state=self.state,
        )

    def _begin_next(self, parent_id: int) -> None:
        first = self._message
        self._begin(
            self._chats.add(
                self.session_id,
                parent_id,
                "assistant",
                "",
                state="writing",
                model=first.model,
                adapter=first.adapter,
                made_under=first.made_under,
            )
        )


def _saved_call(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": call.name, "arguments": dict(call.arguments)},
        **({"error": call.error, "text": call.text} if call.error else {}),
    }
