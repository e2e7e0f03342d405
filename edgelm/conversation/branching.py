"""Ways through the tree of a saved chat: back to a prompt, to an alternative, and back from a deletion."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelm.errors import OptionError
from edgelm.store.chat_schema import Message
from edgelm.store.chats import Chats


def prompt_of(chats: Chats, message: Message) -> Message | None:
    """Find the user's message that led to `message`, which may be that itself; None where there is none above."""
    lineage = reversed(chats.lineage(message.id))
    return next((above for above in lineage if above.role == "user"), None)


def beside(chats: Chats, message_id: int, by: int) -> int:
    """Find the alternative that stands `by` places after a message, around the ends; returns its id.

    Raises:
        OptionError: there is none.
    """
    siblings = chats.siblings(message_id)
    if len(siblings) < 2:
        raise OptionError("there is no alternative", hint="answering again makes one")
    return siblings[(siblings.index(message_id) + by) % len(siblings)]


@dataclass
class Deletions:
    """Deletes chats and messages, and brings them back, the last one first, until the program ends."""

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
        """Bring back what was deleted last; returns the id of its chat.

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
