"""Makes saved chats for tests."""

from __future__ import annotations

from edgelm.store.chats import Chats


def talk(chats: Chats, *turns: str, session_id: int | None = None) -> int:
    """A chat of user and assistant in turn; its id."""
    session = session_id or chats.create(model="tiny").id
    last = None
    for at, text in enumerate(turns):
        last = chats.add(session, last, "assistant" if at % 2 else "user", text).id
    return session
