"""What the parts of the chat screen share: the open chat, its path, and the way to everything else."""

from __future__ import annotations

from typing import ClassVar

from edgelm.conversation.branching import Deletions
from edgelm.errors import NotFoundError
from edgelm.store.chat_schema import Attachment, Message
from edgelm.store.chats import Chats
from edgelm_tui.engine.answer_desk import AnswerDesk
from edgelm_tui.screens.chat.opening import Opening
from edgelm_tui.screens.chat.prompt.prompt import Prompt
from edgelm_tui.screens.chat.prompt.waiting import Waiting
from edgelm_tui.screens.chat.sending import Sender
from edgelm_tui.screens.chat.sidebar import Sidebar
from edgelm_tui.screens.chat.transcript.transcript import Transcript
from edgelm_tui.screens.chat.transcript.view import MessageView
from edgelm_tui.settings import ChatSettings
from edgelm_tui.shell.mode_screen import ModeScreen

_RECENT = 8


class ChatBase(ModeScreen):
    """A mode with one open chat; None is a new one that is not saved yet."""

    MODE: ClassVar[str] = "chat"

    def __init__(self) -> None:
        super().__init__()
        self.session_id: int | None = None
        self.path: list[Message] = []
        self.attachments: list[Attachment] = []
        self._kept: dict[int, list[Attachment]] = {}
        """Attachments of other chats that are not sent yet."""
        self._new_settings: ChatSettings | None = None
        self._deletions: Deletions | None = None
        self._armed: tuple[str, int] | None = None

    @property
    def chats(self) -> Chats:
        """The saved chats."""
        return self.edgelm.chats

    @property
    def deletions(self) -> Deletions:
        """What can be brought back."""
        self._deletions = self._deletions or Deletions(self.chats)
        return self._deletions

    @property
    def desk(self) -> AnswerDesk:
        """The answers under way."""
        return self.edgelm.desk

    @property
    def sender(self) -> Sender:
        """Sends prompts."""
        return self.edgelm.sender

    @property
    def transcript(self) -> Transcript:
        """The messages."""
        return self.query_one(Transcript)

    @property
    def prompt(self) -> Prompt:
        """Where the user writes."""
        return self.query_one(Prompt)

    @property
    def is_whole(self) -> bool:
        """Whether its widgets are there: not before they are made, and not while the app is closing."""
        return self.is_attached and bool(self.query(Prompt)) and bool(self.query(Waiting))

    @property
    def chat_settings(self) -> ChatSettings:
        """Of the open chat."""
        if self.session_id is not None:
            try:
                return self.sender.settings_of(self.session_id)
            except NotFoundError:  # another process has deleted it: `leave_if_deleted` says so
                return self.edgelm.settings.chat
        return self._new_settings or self.edgelm.settings.chat

    def ensure_session(self) -> int:
        """The open chat's id; a new one is saved now."""
        if self.session_id is None:
            model = self.edgelm.state.model
            settings = self.chat_settings.changes(self.edgelm.settings.chat)
            made = self.chats.create(model=model.name if model else None, settings=settings)
            self.session_id = made.id
        return self.session_id

    def load_again(self) -> bool:
        """Load the model that the open chat was with; False where none can be."""
        used = self.chats.session(self.session_id).model if self.session_id is not None else None
        return self.edgelm.load_again(used)

    @property
    def is_mine(self) -> bool:
        """Whether the answer under way is in the open chat."""
        return self.desk.current is not None and self.desk.current.session_id == self.session_id

    def armed(self, what: tuple[str, int], warning: str = "") -> bool:
        """Whether the key before was the same for the same thing: a single key destroys nothing."""
        if self._armed == what:
            self._armed = None
            return True
        self._armed = what
        if warning:
            self.notify(warning, severity="warning")
        return False

    def disarm(self) -> None:
        """Another key came between."""
        self._armed = None

    def on_descendant_blur(self) -> None:
        """So it did where the focus has moved."""
        self.disarm()

    def write_on(self, text: str, *, pasted: bool = False) -> None:
        """Put what was typed elsewhere into the prompt, and go there; the chats give way where they cover it."""
        if not self.has_class("-wide"):
            self.query_one(Sidebar).remove_class("open")
        self.set_focus(self.prompt)
        if pasted:
            self.prompt.take_paste(text)
        else:
            self.prompt.type_text(text)

    def target(self) -> MessageView | None:
        """The message that is meant: the one in focus, else the last answer, else the last."""
        if isinstance(self.focused, MessageView):
            return self.focused
        views = self.transcript.views
        answers = [view for view in views if view.message.role == "assistant"]
        return answers[-1] if answers else views[-1] if views else None

    async def reload(self, focus: int | None = None) -> None:
        """Show the open chat as it is saved, with the focus on the message `focus` if one is named."""
        if self.session_id is None:
            self.path = []
            await self.transcript.show([], {})
        else:
            self.path = self.desk.as_heard(self.chats.path(self.session_id))
            await self.transcript.show(self.path, self.chats.sibling_places(self.session_id), focus)
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
        """What an empty chat offers."""
        if self.path or not (found := self.query(Opening)):
            return
        state = self.edgelm.state
        found.first(Opening).display = bool(state.names) or state.model is not None
        model = (
            state.status(max(self.app.size.width, 1)).partition(" · memory")[0]
            if state.is_listed
            else "starting"
        )
        if state.model is not None and state.model.context_length:
            model = f"{model} · {state.model.context_length:,} tokens of context"
        others = [one for one in self.chats.sessions(limit=_RECENT) if one.id != self.session_id]
        await found.first(Opening).show(model, others)

    def show_current(self) -> None:
        """Put the answer under way, which the database lags behind, into its widget."""
        answer = self.desk.current
        if answer is not None and (view := self.transcript.view_of(answer.message_id)) is not None:
            view.show(view.turn.grown(answer.text, answer.thinking, answer.tool_calls))

    async def show_waiting(self) -> None:
        """Queued prompts and attachments."""
        queued = self.chats.queued(self.session_id) if self.session_id is not None else []
        await self.query_one(Waiting).show(queued, self.attachments)

    def show_sessions(self) -> None:
        """The sidebar."""
        sidebar = self.query_one(Sidebar)
        if sidebar.has_class("open"):
            sidebar.show(self.chats.sessions(sidebar.search_words), self.session_id)

    def show_meter(self) -> None:
        """How the answer goes; overridden."""
        raise NotImplementedError
