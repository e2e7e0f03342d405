"""Runs the chat loop over scripted lines, with the model of `fake_api` and the saved chats of the test's home."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fake_api import FakeApi

from edgelm.cli.chat.chat_recorder import ChatRecorder
from edgelm.cli.chat.chat_session import ChatSession
from edgelm.cli.chat.command_list import WITH_ALIASES
from edgelm.cli.chat.loop import ChatLoop
from edgelm.store.chats import Chats


def talk(
    api: FakeApi,
    lines: Iterable[str | BaseException],
    *,
    prepare: Any = None,
    flags: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Run the loop over `lines` under the settings of `flags`, then Ctrl-D; returns the chat."""
    script = iter(lines)

    def read() -> str:
        line = next(script, None)
        if isinstance(line, BaseException):
            raise line
        if line is None:
            raise EOFError
        return line

    def load(name: str) -> Any:
        model = api.load(name)
        return prepare(model) if prepare else model

    session = ChatSession(load, "tiny", settings=flags)
    with Chats() as chats:
        recorder = ChatRecorder(chats, session)
        ChatLoop(
            session,
            read,
            "keys",
            recorder,
            WITH_ALIASES,
            thinking=True,
            plain=True,
            show_cost=True,
            **options,
        ).run()
    return session.chat
