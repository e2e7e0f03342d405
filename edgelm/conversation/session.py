"""The conversation that is open: which saved chat it is, where in it one stands, its settings, and what is not sent yet.

A chat is a tree of messages; what is said next goes below the message at which the conversation stands. A new conversation is
saved with the first thing that is worth it. Knows no model and no screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from edgelm.conversation.branching import Deletions
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import NotFoundError, OptionError
from edgelm.store.chat_schema import Attachment, ChatHead, Message
from edgelm.store.chats import Chats
from edgelm.store.saved_to_messages import turns


class Conversation:
    """The one chat that is open.

    Args:
        defaults: the settings of a chat that says nothing of its own.
        model: the name of the model that a new chat is saved with.

    Attributes:
        session_id: the saved chat; None for a new one that is not saved yet.
        tip: the message at which the conversation stands; None is before the first.
        attachments: what goes with the next prompt.
        draft: what was typed and not sent when the chat was opened or `save_draft` wrote last.
        deletions: what can be brought back.
    """

    def __init__(
        self, chats: Chats, defaults: Callable[[], ChatSettings], model: Callable[[], str | None]
    ) -> None:
        self.chats = chats
        self._defaults, self._model = defaults, model
        self._new_settings: ChatSettings | None = None
        self.session_id: int | None = None
        self.tip: int | None = None
        self.attachments: list[Attachment] = []
        self.draft = ""
        self._kept_attachments: list[Attachment] = []
        """The attachments as they were read or written last: what another process wrote since then is left alone."""
        self.deletions = Deletions(chats)

    def open(self, session_id: int | None, *, keeps_settings: bool = False) -> None:
        """Go to another chat, at its end; None begins a new one.

        Args:
            keeps_settings: a new chat has those of the one before.

        Raises:
            NotFoundError: the chat is gone; the one before stays open.
        """
        settings = self.settings if keeps_settings and session_id is None else None
        draft = "" if session_id is None else self.chats.session(session_id).draft
        attachments = [] if session_id is None else self.chats.draft_attachments(session_id)
        self.session_id, self.tip = session_id, None
        self._new_settings, self.attachments = settings, attachments
        self.draft, self._kept_attachments = draft, [*attachments]
        if session_id is not None:
            self.go_to_end()

    def ensure_saved(self) -> int:
        """Return the open chat's id; a new one is saved now."""
        if self.session_id is None:
            settings = self.settings.changes(self._defaults())
            self.session_id = self.chats.create(model=self._model(), settings=settings).id
        return self.session_id

    def require_saved(self) -> ChatHead:
        """Return the open chat as it is saved.

        Raises:
            OptionError: it is a new one.
        """
        if self.session_id is None:
            raise OptionError("this chat is not saved yet: it has no message")
        return self.chats.session(self.session_id)

    @property
    def settings(self) -> ChatSettings:
        """The settings of the open chat; of one that another process has deleted, those of a new one."""
        if self.session_id is None:
            return self._new_settings or self._defaults()
        try:
            saved = self.chats.session(self.session_id).settings
        except NotFoundError:
            saved = {}
        return ChatSettings.over(self._defaults(), saved)

    def keep_settings(self, settings: ChatSettings) -> None:
        """Keep settings with the chat."""
        if self.session_id is None:
            self._new_settings = settings
        else:
            self.chats.set_settings(self.session_id, settings.changes(self._defaults()))

    @property
    def path(self) -> list[Message]:
        """The messages from the first to the one at which the conversation stands."""
        return [] if self.tip is None else self.chats.lineage(self.tip)

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The path as the runtime takes it."""
        return turns(self.path)

    def go_to(self, message_id: int | None) -> None:
        """Stand at a message, which is shown from now on; None is before the first."""
        if message_id is not None:
            self.chats.show(message_id)
        self.tip = message_id

    def go_to_end(self) -> list[Message]:
        """Stand at the end of what is shown; returns the messages up to there."""
        path = [] if self.session_id is None else self.chats.path(self.session_id)
        self.tip = path[-1].id if path else None
        return path

    def attach(self, files: Iterable[Attachment]) -> None:
        """Let files go with the next prompt."""
        self.attachments = [*self.attachments, *files]

    def detach(self, file: Attachment) -> None:
        """Let this very attachment not go with the next prompt; one that is gone already is ignored."""
        self.attachments = [other for other in self.attachments if other is not file]

    def attach_text(self, text: str) -> None:
        """Let a long text go with the next prompt."""
        number = sum(file.name.startswith("paste ") for file in self.attachments) + 1
        self.attach([Attachment(f"paste {number}", text)])

    def forget_attachments(self) -> None:
        """Drop the attachments: they were sent, or are not wanted."""
        self.attachments = []
        self.save_attachments()

    def leave_deleted(self) -> None:
        """Go on in a new chat with what is attached: the open one is gone."""
        self.session_id = self.tip = self._new_settings = None
        self.draft, self._kept_attachments = "", []

    def save_draft(self, text: str) -> None:
        """Keep what is typed and attached and not sent, where it changed here; a new chat is saved for it."""
        if text.strip():
            self.ensure_saved()
        self.save_attachments()
        self.save_text(text)

    def save_text(self, text: str) -> None:
        """Keep what is typed in a saved chat and not sent, where it changed here."""
        if self.session_id is not None and text != self.draft:
            self.chats.set_draft(self.session_id, text)
            self.draft = text

    def save_attachments(self) -> None:
        """Keep what is attached and not sent, where it changed here; a new chat is saved for it."""
        if self.attachments:
            self.ensure_saved()
        if self.session_id is not None and self.attachments != self._kept_attachments:
            self.chats.set_draft_attachments(self.session_id, self.attachments)
            self._kept_attachments = [*self.attachments]
