"""Answers under way: puts questions to the engine, writes down what comes, keeps what was stopped.

One answer at a time; its text is in the saved chats within a tick or two, whatever is on the screen. Knows no widget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgelm.conversation.answer_record import AnswerRecord
from edgelm.conversation.asking import Asked
from edgelm.errors import EdgeLMError
from edgelm.store.chat_schema import Message
from edgelm.store.chats import Chats
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine.events import AnswerEnded, AnswerEvent, Failed
from edgelm_tui.engine.meter import Count

if TYPE_CHECKING:
    from edgelm.runtime.chat.tool_loop import ToolEvent

_RETRY_S = 1.0
_WRITE_SHARE = 20
"""At most one part in so many of the time goes into writing the text down."""


class AnswerUnderWay(AnswerRecord):
    """The record of one answer of the engine, and what was counted of it.

    Args:
        job: the engine's number of the question.
    """

    def __init__(self, chats: Chats, message: Message, job: int) -> None:
        super().__init__(chats, message)
        self.job = job
        self.count = Count(time.monotonic())

    def hear(self, event: ToolEvent) -> None:
        """Count an event and note it."""
        self.count.hear(event, time.monotonic())
        super().hear(event)


class AnswerDesk:
    """Puts questions and files the answers.

    Args:
        complain: told when an answer cannot be written down.

    Attributes:
        current: the answer under way.
        last: the one that ended last.
    """

    def __init__(self, client: EngineClient, chats: Chats, complain: Callable[[str], None]) -> None:
        self._client = client
        self._chats = chats
        self._complain = complain
        self._write_at = 0.0
        self._unfinished: list[AnswerUnderWay] = []
        self.current: AnswerUnderWay | None = None
        self.last: AnswerUnderWay | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self.current is not None

    def ask(self, asked: Asked) -> AnswerUnderWay:
        """Put a question, whose answer was begun."""
        job = self._client.ask(asked.question)
        self.current = AnswerUnderWay(self._chats, asked.answer, job)
        return self.current

    def take(self, event: AnswerEvent | AnswerEnded | Failed) -> AnswerUnderWay | None:
        """Note an event; returns the answer it changed, None if it is of none that is under way."""
        answer = self.current
        if answer is None or event.job != answer.job:
            return None
        match event:
            case AnswerEvent():
                answer.hear(event.event)
            case Failed(message, hint):
                answer.fail(message, hint)
            case AnswerEnded():
                self._end(answer)
        return answer

    def as_heard(self, path: Sequence[Message]) -> list[Message]:
        """Return saved messages, with those that have ended and could not be written down yet as they were heard."""
        heard = {answer.message_id: answer for answer in self._unfinished}
        return [heard[message.id].over(message) if message.id in heard else message for message in path]

    def stop(self) -> AnswerUnderWay | None:
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
            self._finish()
        if self.current is not None and self.current.is_unwritten:
            try:
                self.current.write()
            except EdgeLMError as error:
                self._put_off(error)
        self._write_at = max(self._write_at, time.monotonic() + (time.monotonic() - now) * _WRITE_SHARE)

    def _end(self, answer: AnswerUnderWay) -> None:
        self.current, self.last = None, answer
        if answer.state == "writing":
            answer.state = "stopped"
        self._unfinished.append(answer)
        self._finish()

    def _finish(self) -> None:
        """Finish the answers that have ended and are not written down."""
        for answer in list(self._unfinished):
            try:
                answer.finish()
            except EdgeLMError as error:
                self._put_off(error)
                return
            self._unfinished.remove(answer)

    def _put_off(self, error: EdgeLMError) -> None:
        self._write_at = time.monotonic() + _RETRY_S
        self._complain(f"the answer is not written down yet: {error.message}")
