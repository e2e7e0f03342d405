"""Keeps the chat loop's conversation as a session of the saved chats, which the terminal app opens too.

A conversation that cannot be saved goes on: the reason is said once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgelm.cli.output import say, warn
from edgelm.errors import EdgeLMError, NotFoundError

if TYPE_CHECKING:
    from edgelm.store.chat_schema import Message, Session
    from edgelm.store.chats import Chats

_LISTED = 20


class Journal:
    """Writes turns down as they end.

    Args:
        model: its name, noted with the chat.
        session: a chat to go on with; None begins one with the first turn.
    """

    def __init__(self, chats: Chats, model: str, session: Session | None = None) -> None:
        self._chats = chats
        self._model = model
        self._session = session
        self._last: int | None = None
        self._written = 0
        if session is not None:
            path = chats.path(session.id)
            self._written = len(path)
            self._last = path[-1].id if path else None

    def record(self, messages: Sequence[Mapping[str, Any]], system: str | None) -> None:
        """Add the turns of `messages` that are not written yet."""
        try:
            self._record(messages, system)
        except EdgeLMError as error:
            if self._written >= 0:
                warn(f"the chat is not saved: {error.message}")
            self._written = -1

    def forget(self) -> None:
        """The next turn begins a new chat."""
        self._session, self._last, self._written = None, None, 0

    def list(self) -> None:
        """Show the newest chats and how to open one."""
        found = self._chats.sessions(limit=_LISTED)
        for session in found:
            say(f"  {session.id:4}  {session.title}")
        say("edgelm chat --continue ID opens one" if found else "no chat is saved yet")

    def _record(self, messages: Sequence[Mapping[str, Any]], system: str | None) -> None:
        if self._written < 0 or len(messages) <= self._written:
            return
        if self._session is None:
            settings = {"system": system} if system else {}
            self._session = self._chats.create(model=self._model, settings=settings)
            self._chats.name_after(self._session.id, messages[0]["content"])
        for message in messages[self._written :]:
            self._add(self._session.id, message)
        self._written = len(messages)

    def _add(self, session_id: int, message: Mapping[str, Any]) -> None:
        is_answer = message["role"] == "assistant"
        self._last = self._chats.add(
            session_id,
            self._last,
            message["role"],
            message["content"] or "",
            state="stopped" if message.get("partial") else "complete",
            model=self._model if is_answer else None,
            thinking=message.get("reasoning_content", ""),
            tool_calls=message.get("tool_calls", ()),
        ).id


def find_session(chats: Chats, wanted: str) -> Session:
    """The chat with the number `wanted`, or the latest if that is "".

    Raises:
        NotFoundError: there is none.
    """
    if wanted:
        if not wanted.isdecimal():
            raise NotFoundError(f"{wanted!r} is no chat, expected a number", hint="/sessions lists them")
        return chats.session(int(wanted))
    latest = chats.latest()
    if latest is None:
        raise NotFoundError("no chat is saved yet", hint="edgelm chat begins one")
    return latest


def as_turns(path: Sequence[Message]) -> list[dict[str, Any]]:
    """Saved messages as `edgelm.runtime.chat.Chat` takes them."""
    turns = []
    for message in path:
        turn: dict[str, Any] = {"role": message.role, "content": message.prompt_text()}
        if message.thinking:
            turn["reasoning_content"] = message.thinking
        if message.tool_calls:
            turn["tool_calls"] = list(message.tool_calls)
        turns.append(turn)
    return turns
