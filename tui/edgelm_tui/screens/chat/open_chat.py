"""The chat that the screen shows: the conversation, and the widgets that show it."""

from __future__ import annotations

import dataclasses
import time
from functools import cached_property
from typing import TYPE_CHECKING

from edgelm.conversation.session import Conversation
from edgelm.conversation.settings import ChatSettings
from edgelm.store.chat_schema import Message
from edgelm_tui.screens.chat.meter_line import MeterLine
from edgelm_tui.screens.chat.opening import ChatOpening
from edgelm_tui.screens.chat.prompt.prompt import ChatPrompt
from edgelm_tui.screens.chat.prompt.waiting import Waiting
from edgelm_tui.screens.chat.sidebar import Sidebar
from edgelm_tui.screens.chat.transcript.transcript import Transcript
from edgelm_tui.screens.chat.transcript.view import MessageView

if TYPE_CHECKING:
    from edgelm.store.chats import Chats
    from edgelm_tui.engine.answer_desk import AnswerUnderWay
    from edgelm_tui.shell.mode_screen import ModeScreen

_RECENT = 8
_PAINT_SHARE = 3
"""Laying out a growing answer may take one part in so many of the time."""


class OpenChat:
    """One open chat on a screen.

    Attributes:
        screen: where its widgets are.
        path: the messages that are shown.
    """

    def __init__(self, screen: ModeScreen) -> None:
        self.screen, self.services = screen, screen.services
        self.path: list[Message] = []
        self._armed: tuple[str, int] | None = None
        self._paint_at = 0.0

    @property
    def chats(self) -> Chats:
        """The saved chats of the app."""
        return self.services.chats

    @cached_property
    def conversation(self) -> Conversation:
        """The conversation that is shown."""
        services = self.services

        def model() -> str | None:
            return services.state.model.name if services.state.model else None

        return Conversation(services.chats, lambda: services.settings.chat, model)

    @property
    def session_id(self) -> int | None:
        """The saved chat; None for a new one."""
        return self.conversation.session_id

    @property
    def settings(self) -> ChatSettings:
        """The settings of the chat."""
        return self.conversation.settings

    @property
    def transcript(self) -> Transcript:
        """The list of messages."""
        return self.screen.query_one(Transcript)

    @property
    def prompt(self) -> ChatPrompt:
        """The field where the user writes."""
        return self.screen.query_one(ChatPrompt)

    @property
    def sidebar(self) -> Sidebar:
        """The list of chats."""
        return self.screen.query_one(Sidebar)

    @property
    def is_whole(self) -> bool:
        """Whether the widgets are there: not before they are made, and not while the app is closing."""
        screen = self.screen
        # Asked at every tick: `query_one` remembers what it found, where a query would walk every message.
        return screen.is_attached and all(
            screen.query_one_optional(kind) is not None for kind in (ChatPrompt, Waiting)
        )

    @property
    def is_answering(self) -> bool:
        """Whether the answer under way is in this chat."""
        current = self.services.desk.current
        return current is not None and current.session_id == self.session_id

    def armed(self, what: tuple[str, int], warning: str = "") -> bool:
        """Tell whether the key before was the same for the same thing: a single key destroys nothing."""
        if self._armed == what:
            self._armed = None
            return True
        self._armed = what
        if warning:
            self.screen.notify(warning, severity="warning")
        return False

    def disarm(self) -> None:
        """Forget the key before: another came between."""
        self._armed = None

    def keep_settings(self, settings: ChatSettings) -> None:
        """Keep settings with the chat; another adapter is put on the model at once."""
        self.conversation.keep_settings(settings)
        self.services.models.use_adapter(settings.adapter)
        self.show_meter()

    def adopt_adapter(self, adapter: str) -> None:
        """Give a new chat an adapter, which is on the model already."""
        self.conversation.keep_settings(dataclasses.replace(self.settings, adapter=adapter))

    def load_again(self) -> bool:
        """Load the model that the chat was with; False where none can be."""
        used = self.chats.session(self.session_id).model if self.session_id is not None else None
        return self.services.models.load_again(used)

    def write_on(self, text: str, *, pasted: bool = False) -> None:
        """Put what was typed elsewhere into the prompt, and go there; the chats give way where they cover it."""
        if not self.screen.has_class("-wide"):
            self.sidebar.remove_class("open")
        self.screen.set_focus(self.prompt)
        if pasted:
            self.prompt.take_paste(text)
        else:
            self.prompt.type_text(text)

    def target(self) -> MessageView | None:
        """Find the message that is meant: the one in focus, else the last answer, else the last."""
        if isinstance(self.screen.focused, MessageView):
            return self.screen.focused
        views = self.transcript.views
        answers = [view for view in views if view.message.role == "assistant"]
        return answers[-1] if answers else views[-1] if views else None

    async def open(self, session_id: int | None) -> None:
        """Show another chat; None begins a new one. What was typed stays with its chat."""
        self.save_draft()
        self.conversation.open(session_id)
        self.prompt.say(self.conversation.draft)
        await self.transcript.clear_notices()
        await self.reload()
        self.transcript.follow()

    def save_draft(self) -> None:
        """Keep what is typed and attached and not sent."""
        if self.is_whole:
            self.conversation.save_draft(self.prompt.text)

    async def leave_if_deleted(self) -> None:
        """Go on in a new chat with what is typed and attached, if another process has deleted the open one."""
        if self.session_id is None or self.chats.is_there(self.session_id):
            return
        self.conversation.leave_deleted()
        await self.reload()
        self.screen.notify(
            "this chat was deleted elsewhere; what is typed is for a new one now", severity="warning"
        )

    async def reload(self, focus: int | None = None) -> None:
        """Show the chat as it is saved, with the focus on the message `focus` if one is named."""
        self.path = self.services.desk.as_heard(self.conversation.go_to_end())
        places = {} if self.session_id is None else self.chats.sibling_places(self.session_id)
        await self.transcript.show(self.path, places, focus)
        if not self.is_whole:  # the app was closed meanwhile
            return
        self.show_current()
        await self.show_opening()
        await self.show_waiting()
        if not self.is_whole:
            return
        self.show_sessions()
        self.show_meter()

    async def show_opening(self) -> None:
        """Show what an empty chat offers."""
        openings = self.screen.query(ChatOpening)
        if self.path or not openings:
            return
        state = self.services.state
        openings.first().display = bool(state.names) or state.model is not None
        model = (
            state.status(max(self.screen.app.size.width, 1)).partition(" · memory")[0]
            if state.is_listed
            else "starting"
        )
        if state.model is not None and state.model.context_length:
            model = f"{model} · {state.model.context_length:,} tokens of context"
        others = [chat for chat in self.chats.sessions(limit=_RECENT) if chat.id != self.session_id]
        await openings.first().show(model, others)

    def show_current(self) -> None:
        """Put the answer under way, which the database lags behind, into its widget."""
        answer = self.services.desk.current
        if answer is not None and (view := self.transcript.view_of(answer.message_id)) is not None:
            view.show(dataclasses.replace(view.turn, message=answer.over(view.message)))

    async def show_waiting(self) -> None:
        """Show queued prompts and attachments."""
        queued = self.chats.queued(self.session_id) if self.session_id is not None else []
        await self.screen.query_one(Waiting).show(queued, self.conversation.attachments)

    def show_sessions(self) -> None:
        """Show the chats beside the conversation, where they are open."""
        if self.sidebar.has_class("open"):
            self.sidebar.show(self.chats.sessions(self.sidebar.search_words), self.session_id)

    def show_meter(self) -> None:
        """Show how the answer goes, and in the frame of the prompt how the chat is set."""
        self.screen.query_one(MeterLine).show(
            self.services.desk,
            self.services.state,
            self.path,
            self.session_id,
            len(self.conversation.attachments),
        )
        self.prompt.show_settings(self.settings.summary())

    async def answer_changed(self, answer: AnswerUnderWay) -> None:
        """Show more of an answer, or how it ended."""
        if answer.session_id != self.session_id:
            if answer.state != "writing":
                self.show_sessions()
                self.show_meter()
            return
        if answer.state != "writing" and self.services.desk.current is not answer:
            await self._ended(answer)
        elif time.monotonic() >= self._paint_at:
            began = time.monotonic()
            self.show_current()
            self._paint_at = time.monotonic() + (time.monotonic() - began) * _PAINT_SHARE
        self.show_meter()

    async def _ended(self, answer: AnswerUnderWay) -> None:
        view = self.transcript.view_of(answer.message_id)
        with self.services.notices.reporting():
            await self.reload()
        if view is not None:
            hint = f"\nhint: {answer.hint}" if answer.hint else ""
            error = f"error: {answer.error}{hint}" if answer.error else None
            # What is saved may lag behind, where the database is locked.
            view.show(dataclasses.replace(view.turn, message=answer.over(view.message), error=error))
