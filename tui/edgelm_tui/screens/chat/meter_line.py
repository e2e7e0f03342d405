"""The last line of the chat: how the answer under way goes, or how the last one went, and what waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.widgets import Static

from edgelm.store.chat_schema import Message
from edgelm_tui.engine.meter import Count, meter
from edgelm_tui.screens.chat.prompt.waiting import WaitingChip

if TYPE_CHECKING:
    from edgelm_tui.engine.answer_desk import AnswerDesk
    from edgelm_tui.services.state import AppState


class MeterLine(Static):
    """One line of figures."""

    DEFAULT_CSS = "MeterLine { height: 1; padding: 0 2; color: $text-muted; }"

    def __init__(self) -> None:
        super().__init__("", id="meter", markup=False)

    def show(
        self,
        desk: AnswerDesk,
        state: AppState,
        path: Sequence[Message],
        session_id: int | None,
        attachments: int,
    ) -> None:
        """Show the figures of a chat.

        Args:
            path: the messages that are shown.
            attachments: how many chips are attachments and no prompts.
        """
        limit = state.model.context_length if state.model else None
        answer = desk.current
        if answer is None:
            text = _of_last(desk, path, limit)
        elif answer.session_id == session_id:
            text = meter(answer.count, limit)
        else:
            text = "an answer is under way in another chat"
        waiting = len(self.screen.query(WaitingChip)) - attachments
        if waiting > 0:
            until = "" if answer else " for the model" if state.loading else ", Enter sends the next"
            text = f"{text} · {waiting} waiting{until}" if text else f"{waiting} waiting{until}"
        self.update(text, layout=False)


def _of_last(desk: AnswerDesk, path: Sequence[Message], limit: int | None) -> str:
    from edgelm.runtime.events import Usage

    last = next((message for message in reversed(path) if message.role == "assistant"), None)
    if last is None:
        return ""
    if desk.last is not None and desk.last.message_id == last.id:
        return meter(desk.last.count, limit, ended=_ending(desk.last.state))
    if not last.usage:
        return _ending(last.state)
    return meter(Count(0.0, usage=Usage(**last.usage)), limit, ended=_ending(last.state))


def _ending(state: str) -> str:
    return state if state in ("stopped", "failed") else ""
