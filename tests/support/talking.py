"""Runs the chat loop over scripted lines, with the model of `fake_api` and the saved chats of the test's home."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fake_api import FakeApi

from edgelm.cli.chat.chat_recorder import Journal
from edgelm.cli.chat.chat_session import Talker
from edgelm.cli.chat.loop import Repl
from edgelm.store.chats import Chats


def talk(api: FakeApi, lines: Iterable[str | BaseException], *, prepare: Any = None, **options: Any) -> Any:
    """Run the loop over `lines`, then Ctrl-D; returns the chat."""
    script = iter(lines)

    def read() -> str:
        line = next(script, None)
        if isinstance(line, BaseException):
            raise line
        if line is None:
            raise EOFError
        return line

    def begin(model: Any, system: str | None, earlier: Any) -> tuple[Any, Any]:
        chat = model.chat(system=system, messages=earlier)
        return chat, chat.events

    def load(name: str) -> Any:
        model = api.load(name)
        return prepare(model) if prepare else model

    talker = Talker(load, begin, "tiny")
    with Chats() as chats:
        Repl(
            talker, read, "keys", Journal(chats, "tiny"), thinking=True, plain=True, show_cost=True, **options
        ).run()
    return talker.chat
