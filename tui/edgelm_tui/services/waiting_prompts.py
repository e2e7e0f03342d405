"""Prompts that wait: for the model, or for the end of the answer of another chat. Knows no widget."""

from __future__ import annotations

from collections.abc import Callable

from edgelm.conversation.asking import Asker
from edgelm_tui.engine.answer_desk import AnswerDesk, AnswerUnderWay


class WaitingPrompts:
    """Sends prompts that wait in their chats, the longest first.

    Args:
        show: shows an answer that was stopped.
    """

    def __init__(self, asker: Asker, desk: AnswerDesk, show: Callable[[AnswerUnderWay], None]) -> None:
        self._asker, self._desk, self._show = asker, desk, show
        self._chats: list[int] = []

    def send_when_free(self, session_id: int) -> None:
        """Let the prompts of a chat be sent once the model is there and answers nothing else."""
        self._chats.append(session_id)

    def send_next(self, first: int | None = None) -> None:
        """Send the next prompt: in the chat `first`, else in the one that has waited longest."""
        for session_id in dict.fromkeys([*([] if first is None else [first]), *self._chats]):
            if (asked := self._asker.next_queued(session_id)) is not None:
                self._desk.ask(asked)
                return
            self.forget(session_id)

    def forget(self, session_id: int) -> None:
        """Send nothing more of a chat without being asked for it: it was deleted."""
        self._chats = [other for other in self._chats if other != session_id]

    def hold(self) -> None:
        """Let what waits stay until Enter on an empty prompt."""
        self._chats.clear()

    def stop_answer(self) -> None:
        """Stop the answer under way, and show that at once; what waits is not sent without being asked for."""
        if self._desk.busy:
            self.hold()
            answer = self._desk.stop()
            if answer is not None:
                self._show(answer)
