"""Writes the chat loop's conversation down among the saved chats, which the terminal app opens too.

A conversation that cannot be saved goes on: the reason is said once, and what needs the saved messages refuses.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from edgelm.cli.show.output import warn
from edgelm.conversation.answer_record import AnswerRecord
from edgelm.conversation.asking import Asked, Asker
from edgelm.conversation.session import Conversation
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import EdgeLMError, NotFoundError, OptionError
from edgelm.store.chats import Chats

if TYPE_CHECKING:
    from edgelm.cli.chat.chat_session import ChatSession
    from edgelm.runtime.chat.tool_loop import ToolEvent
    from edgelm.store.chat_schema import Attachment, ChatHead, Message, State

_WRITE_S = 1.0
"""Seconds between two times that an answer under way is written down."""


class ChatRecorder:
    """Keeps a conversation as far as it can be kept.

    Args:
        session: the model whose answers are written down.
        session_id: a chat to go on with; None begins one with the first prompt.
    """

    def __init__(self, chats: Chats, session: ChatSession, session_id: int | None = None) -> None:
        self.chats = chats
        self.is_broken = False
        self._session = session
        tools = [tool.definition for tool in session.tools]
        self._asker = Asker(chats, ChatSettings, lambda: session, tools)
        self._conversation = Conversation(chats, ChatSettings, lambda: session.name)
        self._conversation.open(session_id)

    @property
    def conversation(self) -> Conversation:
        """The conversation as it is saved.

        Raises:
            OptionError: what was said could not be saved.
        """
        if self.is_broken:
            raise OptionError(
                "this chat is not saved, so nothing in it can be gone back to", hint="/new begins another"
            )
        return self._conversation

    @property
    def attachments(self) -> list[Attachment]:
        """The files that go with the next prompt."""
        return self._conversation.attachments

    def attach(self, files: Iterable[Attachment]) -> None:
        """Let files go with the next prompt, also when the chat is gone on with another time."""
        self._conversation.attach(files)
        with self._saving():
            self._conversation.save_attachments()

    def open(self, session_id: int | None) -> None:
        """Go to another chat, at its end; None begins a new one with the next prompt, with the same settings."""
        self._conversation.open(session_id, keeps_settings=True)
        self.is_broken = False

    def keep(self, **settings: Any) -> None:
        """Note settings with the chat."""
        with self._saving():
            before = self._conversation.settings
            self._conversation.keep_settings(dataclasses.replace(before, **settings))

    def say(self, text: str, files: Iterable[Attachment] = ()) -> Message | None:
        """Write a prompt down; None if it cannot be."""
        if self.is_broken:
            return None
        with self._saving():
            conversation = self._conversation
            prompt = self._asker.say(conversation.ensure_saved(), conversation.tip, text, files)
            conversation.tip = prompt.id
            conversation.forget_attachments()
            return prompt
        return None

    def ask(self, prompt: Message, settings: ChatSettings) -> Asked | None:
        """Begin the answer to a prompt; None if it cannot be written down."""
        with self._saving():
            return self._asker.ask(prompt, settings)
        return None

    def go_on(self, cut: Message, settings: ChatSettings) -> Asked:
        """Begin to continue an answer."""
        return self._asker.go_on(cut, settings)

    def record(self, asked: Asked) -> AnswerRecord:
        """Make the record of an answer that was begun."""
        return AnswerRecord(self.chats, asked.answer)

    def noted(
        self, record: AnswerRecord, events: Generator[ToolEvent, None, None]
    ) -> Generator[ToolEvent, None, None]:
        """Pass the events of an answer on, and note them in its record."""
        write_at = time.monotonic() + _WRITE_S
        with closing(events):
            for event in events:
                with self._saving():
                    record.hear(event)
                    if time.monotonic() > write_at:
                        record.write()
                        write_at = time.monotonic() + _WRITE_S
                yield event

    def end(self, record: AnswerRecord, state: State) -> None:
        """Write down how an answer ended, with the results of calls that were not waited for; the model's chat follows."""
        if self.is_broken:
            return
        with self._saving():
            record.state = state if record.state == "writing" else record.state
            if state == "stopped" and record.tool_calls:
                for text in self._session.last_results()[record.result_count :]:
                    record.add_result(text)
            record.finish()
            self._conversation.tip = record.last_id
            if record.text or state != "failed":
                self._session.go_to(self._conversation.turns)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except EdgeLMError as error:
            if not self.is_broken:
                warn(f"the chat is not saved: {error.message}")
            self.is_broken = True


def find_chat(chats: Chats, wanted: str) -> ChatHead:
    """Find the chat with the number `wanted`, or the latest if that is "".

    Raises:
        NotFoundError: there is none.
    """
    if wanted:
        if not wanted.isdecimal():
            raise NotFoundError(
                f"{wanted!r} is no chat, expected a number", hint="edgelm chats lists them, /sessions too"
            )
        return chats.session(int(wanted))
    latest = chats.latest()
    if latest is None:
        raise NotFoundError("no chat is saved yet", hint="edgelm chat begins one")
    return latest
