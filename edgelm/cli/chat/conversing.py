"""Opens or begins a saved chat for `edgelm chat`: its model, its settings, a greeting, and then the loop or one answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

from edgelm.cli.chat.approval import Approval, answer_reader
from edgelm.cli.chat.line_readers import (
    EDITING_KEYS,
    PLAIN_KEYS,
    can_edit,
    editing_reader,
    keep_typed_ahead,
    plain_reader,
)
from edgelm.cli.chat.loading import load_model
from edgelm.cli.parsing.answer_flags import said_settings
from edgelm.cli.parsing.default_model import choose_model, named_model
from edgelm.cli.show.output import say, warn
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.cli.chat.chat_recorder import ChatRecorder
    from edgelm.cli.chat.chat_session import ChatSession
    from edgelm.cli.chat.loop import ChatLoop, Show
    from edgelm.conversation.model import ModelChat
    from edgelm.store.chats import Chats
    from edgelm.text.tools.tool import Tool


def begin_session(
    name: str,
    system: str | None,
    tools: Sequence[Tool],
    settings: Mapping[str, Any],
    arguments: argparse.Namespace,
) -> ChatSession:
    """Load a model and begin a conversation with it.

    Args:
        settings: of all answers, as flags give them.

    Raises:
        NotFoundError, FitError, ...: as `edgelm.load`.
    """
    from edgelm.cli.chat.chat_session import ChatSession

    return ChatSession(
        lambda wanted: load_model(wanted, arguments),
        name,
        system=system,
        thinking=arguments.enable_thinking,
        settings=settings,
        tools=tools,
        approve=Approval(answer_reader(plain=arguments.plain)) if tools else None,
    )


def converse(
    prompt: str | None,
    system: str | None,
    tools: Sequence[Tool],
    settings: Mapping[str, Any],
    arguments: argparse.Namespace,
    show: Show | None = None,
) -> None:
    """Open or begin a saved chat; answer `prompt` in it and leave, or go on until the user leaves.

    Args:
        settings: of all answers, as flags give them.
        show: shows the answer to `prompt`.

    Raises:
        NotFoundError: there is no such saved chat; or as `edgelm.load`.
        OutputError: the saved chats cannot be opened, and one of them is to be gone on with.
    """
    from edgelm.cli.chat.chat_recorder import ChatRecorder, find_chat

    edits = prompt is None and can_edit() and not arguments.plain
    with closing(_chats(arguments)) as chats:
        saved = None if arguments.session is None else find_chat(chats, arguments.session)
        name = named_model(arguments.model) or (saved and _usable(saved.model)) or choose_model()
        with (
            keep_typed_ahead() if edits else nullcontext(),
            closing(begin_session(name, system, tools, settings, arguments)) as session,
        ):
            recorder = ChatRecorder(chats, session, saved.id if saved else None)
            loop = _loop(session, recorder, arguments, edits=edits)
            _adopt_settings(loop, system, arguments)
            if prompt is None:
                _greet(loop)
                loop.run()
            else:
                loop.answer(prompt, (), show)


def _chats(arguments: argparse.Namespace) -> Chats:
    """The saved chats; where none can be saved, said once, a place in memory that is gone with the process.

    Raises:
        OutputError: they cannot be opened, and one of them is to be gone on with.
    """
    from edgelm.errors import OutputError
    from edgelm.store.chats import IN_MEMORY, Chats

    try:
        return Chats()
    except OutputError as error:
        if arguments.session is not None:
            raise
        warn(f"nothing of this chat is saved: {error.message}")
        return Chats(IN_MEMORY)


def _loop(
    session: ChatSession, recorder: ChatRecorder, arguments: argparse.Namespace, *, edits: bool
) -> ChatLoop:
    from edgelm.cli.chat.command_list import COMMANDS, WITH_ALIASES
    from edgelm.cli.chat.loop import ChatLoop

    return ChatLoop(
        session=session,
        read=editing_reader(tuple(COMMANDS), keeps_history=recorder.chats.is_kept) if edits else plain_reader,
        keys=EDITING_KEYS if edits else PLAIN_KEYS,
        recorder=recorder,
        commands=WITH_ALIASES,
        thinking=arguments.thinking,
        plain=arguments.plain,
        show_cost=sys.stderr.isatty(),
        calls=arguments.tools is None,
    )


def _adopt_settings(loop: ChatLoop, system: str | None, arguments: argparse.Namespace) -> None:
    """Let the settings of a saved chat count, but where the command line says otherwise."""
    from edgelm.conversation.settings import ChatSettings

    flags = said_settings(arguments)
    over = {*flags, *({"temperature"} if flags.get("greedy") else ())}
    if {arguments.schema, arguments.regex, arguments.grammar} != {None}:
        over.add("schema")
    if arguments.adapter is not None:
        over |= {"adapter", "adapter_scale"}
    given = {"system": system, "thinking": arguments.enable_thinking}
    saved = loop.recorder.conversation.settings.changes(ChatSettings())
    values = {name: value for name, value in saved.items() if name not in over}
    values |= {name: value for name, value in given.items() if value is not None}
    loop.use_settings(ChatSettings.over(ChatSettings(), values))
    if system is not None:
        loop.recorder.keep(system=system)
    loop.follow()


def _greet(loop: ChatLoop) -> None:
    model, chat = loop.session.model, loop.session.chat
    context = f", context {count(model.context_length, 'token')}" if model.context_length else ""
    say(f"{model.name}{context}; /help lists the commands, Ctrl-D leaves")
    if chat.messages:
        say(f"going on after {count(len(chat.messages), 'message')}; the last: {_last_words(chat)}")
    if files := loop.recorder.attachments:
        say(f"{count(len(files), 'file')} attached before goes with the next prompt")


def _usable(model: str | None) -> str | None:
    """The model a saved chat was with, unless it is gone."""
    from edgelm.errors import NotFoundError
    from edgelm.library.models import resolve

    try:
        return str(resolve(model)) if model else None
    except NotFoundError:
        say(f"{model} is no longer installed")
        return None


def _last_words(chat: ModelChat) -> str:
    words = " ".join(chat.messages[-1]["content"].split())
    return words if len(words) <= 70 else "…" + words[-70:]
