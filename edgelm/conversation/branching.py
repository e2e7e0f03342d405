"""Moves in a saved chat that the app and `edgelm chat` share: to alternatives, back to a prompt, undoing deletions."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelm.errors import OptionError
from edgelm.store.chat_schema import Message
from edgelm.store.chats import Chats


def prompt_of(chats: Chats, message: Message) -> Message | None:
    """The user's message that led to `message`, which may be that itself; None where there is none above."""
    above = reversed(chats.lineage(message.id))
    return next((one for one in above if one.role == "user"), None)


def beside(chats: Chats, message_id: int, by: int) -> int:
    """The alternative that stands `by` places after a message, around the ends.

    Raises:
        OptionError: there is none.
    """
    siblings = chats.siblings(message_id)
    if len(siblings) < 2:
        raise OptionError("there is no alternative", hint="answering again makes one")
    return siblings[(siblings.index(message_id) + by) % len(siblings)]


def rate(chats: Chats, message: Message, rating: int) -> int:
    """Rate an answer, or take the same rating back; what it is now.

    Raises:
        OptionError: it is no answer.
    """
    if message.role != "assistant":
        raise OptionError("only answers are rated")
    now = 0 if message.rating == rating else rating
    chats.rate(message.id, now)
    return now


@dataclass
class Deletions:
    """What was deleted since the program began, the last one first to come back."""

    chats: Chats
    _done: list[tuple[bool, int]] = field(default_factory=list)

    def chat(self, session_id: int) -> None:
        """Delete a chat."""
        self.chats.delete(session_id)
        self._done.append((True, session_id))

    def message(self, message_id: int) -> None:
        """Delete a message and all below it."""
        self.chats.delete_message(message_id)
        self._done.append((False, message_id))

    def undo(self) -> int:
        """Bring back what was deleted last; the id of its chat.

        Raises:
            OptionError: nothing was deleted.
        """
        if not self._done:
            raise OptionError("nothing was deleted")
        is_chat, which = self._done.pop()
        if is_chat:
            self.chats.restore(which)
            return which
        self.chats.restore_message(which)
        return self.chats.message(which).session_id


def file_name(title: str) -> str:
    """A name for the file that a chat is exported to."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    return "-".join(part for part in kept.split("-") if part)[:40] + ".md"
