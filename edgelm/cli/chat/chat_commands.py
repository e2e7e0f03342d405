"""Commands of the chat loop that are about chats: list, search, open, rename, delete, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgelm.cli.chat.chat_recorder import find_chat
from edgelm.cli.chat.loop import ChatLoop, SlashCommand
from edgelm.cli.chat.transcript import default_file, save
from edgelm.cli.show.output import say
from edgelm.conversation.commands import COMMANDS as APP_COMMANDS
from edgelm.conversation.feedback import write_feedback
from edgelm.conversation.typed_paths import path_of
from edgelm.errors import OptionError
from edgelm.store.chat_schema import ChatHead
from edgelm.units import count

_LISTED = 20


def _new(loop: ChatLoop, _: str) -> None:
    loop.open(None)
    say("a new chat: the conversation is forgotten, the one before stays saved")


def _sessions(loop: ChatLoop, _: str) -> None:
    _say_sessions(loop.recorder.chats.sessions(limit=_LISTED), "no chat is saved yet")


def _search(loop: ChatLoop, words: str) -> None:
    if not words:
        raise OptionError("no words to search for", hint="/search WORDS")
    _say_sessions(loop.recorder.chats.sessions(words, limit=_LISTED), "nothing found")


def _say_sessions(sessions: Sequence[ChatHead], nothing: str) -> None:
    for session in sessions:
        folder = f" (in {session.folder})" if session.folder else ""
        say(f"  {session.id:4}  {session.title}{folder}")
        if session.snippet:
            say(f"        {session.snippet.translate({2: None, 3: None})}")
    say("/open ID goes on with one, edgelm chat --continue ID too" if sessions else nothing)


def _open(loop: ChatLoop, rest: str) -> None:
    show(loop, find_chat(loop.recorder.chats, rest).id)


def show(loop: ChatLoop, session_id: int) -> None:
    """Go on with a saved chat and its settings."""
    loop.open(session_id)
    session = loop.recorder.conversation.require_saved()
    attached = len(loop.recorder.attachments)
    waiting = f", {count(attached, 'file')} attached" if attached else ""
    messages = count(len(loop.recorder.conversation.path), "message")
    say(f"chat {session.id}, {session.title}: {messages}{waiting}; /messages lists them")


def _rename(loop: ChatLoop, title: str) -> None:
    session = loop.recorder.conversation.require_saved()
    loop.recorder.chats.rename(session.id, title)
    say(f"the chat is called {loop.recorder.chats.session(session.id).title}")


def _folder(loop: ChatLoop, name: str) -> None:
    loop.recorder.chats.move(loop.recorder.conversation.require_saved().id, name or None)
    say(f"the chat is in the folder {name}" if name else "the chat is in no folder")


def _duplicate(loop: ChatLoop, _: str) -> None:
    show(loop, loop.recorder.chats.duplicate(loop.recorder.conversation.require_saved().id).id)


def _delete(loop: ChatLoop, _: str) -> None:
    session = loop.recorder.conversation.require_saved()
    loop.recorder.conversation.deletions.chat(session.id)
    loop.open(None)
    say(f"{session.title} is deleted; /undo brings it back; this is a new chat")


def _undo(loop: ChatLoop, _: str) -> None:
    show(loop, loop.recorder.conversation.deletions.undo())


def _export(loop: ChatLoop, rest: str) -> None:
    from edgelm.store.chat_files import export_chat, export_name

    session = loop.recorder.conversation.require_saved()
    file = path_of(rest) if rest else Path(export_name(session.title))
    export_chat(loop.recorder.chats, session.id, file)
    say(f"written to {file}")


def _import(loop: ChatLoop, rest: str) -> None:
    from edgelm.store.chat_files import import_chat

    if not rest:
        raise OptionError("no file is named", hint="/import FILE")
    show(loop, import_chat(loop.recorder.chats, path_of(rest)).id)


def _save(loop: ChatLoop, rest: str) -> None:
    messages = loop.session.chat.messages
    if not messages:
        say("there is nothing to save yet")
        return
    file = path_of(rest) if rest else default_file()
    save(file, messages, model=loop.session.name)
    say(f"saved to {file}")


def _feedback(loop: ChatLoop, rest: str) -> None:
    say(write_feedback(loop.recorder.chats, rest))


COMMANDS = {
    "/new": SlashCommand("a new chat, with the same system prompt and settings; /clear too", _new),
    "/sessions": SlashCommand("list the saved chats", _sessions),
    "/search": SlashCommand("WORDS  search all chats", _search),
    "/open": SlashCommand("ID  go on with a saved chat", _open),
    "/rename": SlashCommand("TITLE  give the chat a title", _rename),
    "/folder": SlashCommand(APP_COMMANDS["/folder"], _folder),
    "/duplicate": SlashCommand(APP_COMMANDS["/duplicate"], _duplicate),
    "/delete": SlashCommand(APP_COMMANDS["/delete"], _delete),
    "/undo": SlashCommand(APP_COMMANDS["/undo"], _undo),
    "/export": SlashCommand(
        "[FILE]  write the chat to a new .md or, with all alternatives, .json file", _export
    ),
    "/import": SlashCommand(APP_COMMANDS["/import"], _import),
    "/save": SlashCommand("[FILE]  write what is shown to a new .json or .md file", _save),
    "/feedback": SlashCommand(APP_COMMANDS["/feedback"], _feedback),
}
