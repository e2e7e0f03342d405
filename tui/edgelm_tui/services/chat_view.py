"""The chat on the screen, as the rest of the app knows it; the chat screen is one."""

from __future__ import annotations

from typing import Protocol

from edgelm_tui.engine.answer_desk import AnswerUnderWay


class ChatView(Protocol):
    """Shows the open chat."""

    @property
    def is_whole(self) -> bool:
        """Whether its widgets are there: not before they are made, and not while the app is closing."""

    @property
    def adapter(self) -> str:
        """The directory of the adapter that the open chat is with, "" without one."""

    async def open_saved(self, session_id: int) -> None:
        """Open a saved chat, and put the focus on the prompt."""

    async def begin_with(self, adapter: str) -> None:
        """Begin a new chat with an adapter."""

    async def answer_changed(self, answer: AnswerUnderWay) -> None:
        """Show that more of an answer has come, or that it has ended."""

    async def reload(self) -> None:
        """Show the open chat as it is saved."""

    async def show_notice(self, text: str, *, error: bool = False) -> None:
        """Say something below the messages."""

    async def tick(self) -> None:
        """Do what is due; called thirty times a second."""

    def save_draft(self) -> None:
        """Keep what is typed and not sent."""
