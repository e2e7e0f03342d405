"""Commands of the chat loop that are about chats: list, search, open, rename, delete, files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.cli.chat.chat_recorder import find_session
from edgelm.cli.chat.command import Command
from edgelm.cli.chat.transcript import default_file, save
from edgelm.cli.show.output import say
from edgelm.conversation.branching import file_name
from edgelm.conversation.commands import COMMANDS as APP_COMMANDS
from edgelm.conversation.commands import write_feedback
from edgelm.conversation.typed_paths import path_of
from edgelm.errors import OptionError
from edgelm.store.chat_schema import Session
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.cli.chat.loop import Repl

_LISTED = 20


def _new(repl: Repl, _: str) -> None:
    repl.journal.open(None)
    repl.talker.chat.clear()
    say("a new chat: the conversation is forgotten, the one before stays saved")


def _sessions(repl: Repl, _: str) -> None:
    _say_sessions(repl.journal.chats.sessions(limit=_LISTED), "no chat is saved yet")


def _search(repl: Repl, words: str) -> None:
    if not words:
        raise OptionError("no words to search for", hint="/search WORDS")
    _say_sessions(repl.journal.chats.sessions(words, limit=_LISTED), "nothing found")


def _say_sessions(found: Iterable[Session], nothing: str) -> None:
    listed = list(found)
    for session in listed:
        folder = f" (in {session.folder})" if session.folder else ""
        say(f"  {session.id:4}  {session.title}{folder}")
        if session.snippet:
            say(f"        {session.snippet.translate({2: None, 3: None})}")
    say("/open ID goes on with one, edgelm chat --continue ID too" if listed else nothing)


def _open(repl: Repl, rest: str) -> None:
    show(repl, find_session(repl.journal.chats, rest))


def show(repl: Repl, session: Session) -> None:
    """Go on with a saved chat and its settings."""
    repl.journal.open(session)
    repl.settings = repl.settings.over(type(repl.settings)(), session.settings)
    adopt(repl)
    repl.talker.chat.replace(repl.journal.turns)
    path = repl.journal.path
    say(f"chat {session.id}, {session.title}: {count(len(path), 'message')}; /messages lists them")


def adopt(repl: Repl) -> None:
    """Let the settings of the chat count that are not settings of an answer."""
    chat, settings = repl.talker.chat, repl.settings
    chat.system = settings.system or None
    chat.enable_thinking = settings.thinking
    if settings.adapter and Path(settings.adapter).is_dir():
        repl.talker.weigh_adapter(settings.adapter, settings.adapter_scale)


def _rename(repl: Repl, title: str) -> None:
    session = repl.journal.require()
    repl.journal.chats.rename(session.id, title)
    say(f"the chat is called {repl.journal.chats.session(session.id).title}")


def _folder(repl: Repl, name: str) -> None:
    repl.journal.chats.move(repl.journal.require().id, name or None)
    say(f"the chat is in the folder {name}" if name else "the chat is in no folder")


def _duplicate(repl: Repl, _: str) -> None:
    show(repl, repl.journal.chats.duplicate(repl.journal.require().id))


def _delete(repl: Repl, _: str) -> None:
    session = repl.journal.require()
    repl.journal.deletions.chat(session.id)
    repl.journal.open(None)
    repl.talker.chat.clear()
    say(f"{session.title} is deleted; /undo brings it back; this is a new chat")


def _undo(repl: Repl, _: str) -> None:
    show(repl, repl.journal.chats.session(repl.journal.deletions.undo()))


def _export(repl: Repl, rest: str) -> None:
    from edgelm.store.chat_files import export_chat

    session = repl.journal.require()
    file = path_of(rest) if rest else Path(file_name(session.title))
    export_chat(repl.journal.chats, session.id, file)
    say(f"written to {file}")


def _import(repl: Repl, rest: str) -> None:
    from edgelm.store.chat_files import import_chat

    if not rest:
        raise OptionError("no file is named", hint="/import FILE")
    show(repl, import_chat(repl.journal.chats, path_of(rest)))


def _save(repl: Repl, rest: str) -> None:
    messages = repl.talker.chat.messages
    if not messages:
        say("there is nothing to save yet")
        return
    file = path_of(rest) if rest else default_file()
    save(file, messages, model=repl.talker.model.name)
    say(f"saved to {file}")


def _feedback(repl: Repl, rest: str) -> None:
    say(write_feedback(repl.journal.chats, rest))


COMMANDS = {
    "/new": Command("a new chat, with the same system prompt and settings; /clear too", _new),
    "/sessions": Command("list the saved chats", _sessions),
    "/search": Command("WORDS  search all chats", _search),
    "/open": Command("ID  go on with a saved chat", _open),
    "/rename": Command("TITLE  give the chat a title", _rename),
    "/folder": Command(APP_COMMANDS["/folder"], _folder),
    "/duplicate": Command(APP_COMMANDS["/duplicate"], _duplicate),
    "/delete": Command(APP_COMMANDS["/delete"], _delete),
    "/undo": Command(APP_COMMANDS["/undo"], _undo),
    "/export": Command("[FILE]  write the chat to a new .md or, with all alternatives, .json file", _export),
    "/import": Command(APP_COMMANDS["/import"], _import),
    "/save": Command("[FILE]  write what is shown to a new .json or .md file", _save),
    "/feedback": Command(APP_COMMANDS["/feedback"], _feedback),
}
