"""Answers under way: asks the engine, writes down what comes, keeps what was stopped.

One answer at a time; its text is in the saved chats within a tick or two, whatever is on the screen. Knows no widget.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgelm.errors import EdgeLMError
from edgelm.store.chat_schema import Message, State
from edgelm.store.chats import Chats
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine.events import Ended, Failed, Question, Said
from edgelm_tui.screens.chat.meter import Count

if TYPE_CHECKING:
    from edgelm.runtime.events import ToolCall

_RETRY_S = 1.0
_WRITE_SHARE = 20
"""At most one part in so many of the time goes into writing the text down."""


@dataclass
class Answer:
    """One answer, as far as it has come."""

    job: int
    session_id: int
    message_id: int
    text: str
    count: Count
    thinking: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    state: State = "writing"
    error: str | None = None
    hint: str | None = None


class AnswerDesk:
    """Puts questions and files the answers.

    Args:
        complain: told when an answer cannot be written down.
    """

    def __init__(self, client: EngineClient, chats: Chats, complain: Callable[[str], None]) -> None:
        self._client = client
        self._chats = chats
        self._complain = complain
        self._unwritten = False
        self._write_at = 0.0
        self._unfinished: list[Answer] = []
        self.current: Answer | None = None
        self.last: Answer | None = None
        """The one that ended last."""

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self.current is not None

    def ask(self, message: Message, question: Question) -> Answer:
        """Fill `message`, an answer in the state `writing`, with the answer to `question`."""
        job = self._client.ask(question)
        self.current = Answer(
            job,
            message.session_id,
            message.id,
            message.content,
            Count(time.monotonic()),
            message.thinking,
            list(message.tool_calls),
        )
        return self.current

    def take(self, event: Said | Ended | Failed) -> Answer | None:
        """Note an event; the answer it changed, or None if it is of none that is under way."""
        answer = self.current
        if answer is None or event.job != answer.job:
            return None
        match event:
            case Said():
                self._hear(answer, event)
            case Failed(message, hint):
                answer.state, answer.error, answer.hint = "failed", message, hint
            case Ended():
                if answer.state == "writing":
                    answer.state = "stopped"
                self._end(answer)
        return answer

    def as_heard(self, path: Sequence[Message]) -> list[Message]:
        """Saved messages, those that have ended and could not be written down yet as they were heard."""
        heard = {answer.message_id: answer for answer in self._unfinished}
        return [_as_heard(message, heard.get(message.id)) for message in path]

    def stop(self) -> Answer | None:
        """Stop now; what has come is kept."""
        answer = self.current
        if answer is not None:
            self._client.stop(answer.job)
            answer.state = "stopped"
            self._end(answer)
        return answer

    def tick(self) -> None:
        """Write down what has come; called at every tick."""
        now = time.monotonic()
        if now < self._write_at:
            return
        if self._unfinished:
            self._retry()
        if self.current is not None and self._unwritten:
            self._write(self.current)
        self._write_at = max(self._write_at, time.monotonic() + (time.monotonic() - now) * _WRITE_SHARE)

    def _hear(self, answer: Answer, said: Said) -> None:
        # Not before the first answer: the runtime's package prepares the processor for MLX, which takes a while.
        from edgelm.runtime.events import Finished, Prefill, Text, ToolCall

        match said.event:
            case Prefill(done, total, cached):
                answer.count.read, answer.count.prompt, answer.count.cached = done, total, cached
            case Text(text, channel):
                answer.count.piece(time.monotonic())
                if channel == "thinking":
                    answer.thinking += text
                elif channel == "answer":
                    answer.text += text
                self._unwritten = True
            case ToolCall():
                answer.tool_calls.append(_call(said.event))
                self._unwritten = True
            case Finished(reason, usage):
                answer.count.usage = usage
                answer.state = {"stop": "complete", "length": "length"}.get(reason, "stopped")  # type: ignore[assignment]

    def _end(self, answer: Answer) -> None:
        self.current, self.last = None, answer
        self._unfinished.append(answer)
        self._retry()

    def _write(self, answer: Answer) -> bool:
        try:
            self._chats.write(
                answer.message_id, answer.text, thinking=answer.thinking, tool_calls=answer.tool_calls
            )
        except EdgeLMError as error:
            self._put_off(error)
            return False
        self._unwritten = False
        return True

    def _retry(self) -> None:
        """Finish the answers that have ended and are not written down."""
        for answer in list(self._unfinished):
            if not self._write(answer):
                return
            usage = dataclasses.asdict(answer.count.usage) if answer.count.usage else {}
            try:
                self._chats.finish(answer.message_id, answer.state, usage=usage)
            except EdgeLMError as error:
                self._put_off(error)
                return
            self._unfinished.remove(answer)

    def _put_off(self, error: EdgeLMError) -> None:
        self._write_at = time.monotonic() + _RETRY_S
        self._complain(f"the answer is not written down yet: {error.message}")


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": call.name, "arguments": dict(call.arguments)},
        **({"error": call.error, "text": call.text} if call.error else {}),
    }


def _as_heard(message: Message, answer: Answer | None) -> Message:
    if answer is None:
        return message
    return dataclasses.replace(
        message,
        content=answer.text,
        thinking=answer.thinking,
        tool_calls=tuple(answer.tool_calls),
        state=answer.state,
    )
