"""`edgelm chats`: the saved chats from the shell: list, search, show, export, remove, and take back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.cli.parsing.actions import add_action, add_json
from edgelm.cli.parsing.confirm import add_yes, confirmed
from edgelm.cli.show.facts import labelled
from edgelm.cli.show.output import console, print_json, say
from edgelm.errors import OptionError

if TYPE_CHECKING:
    from edgelm.store.chat_schema import ChatHead, Message
    from edgelm.store.chats import Chats

EXAMPLES = (
    "edgelm chats",
    "edgelm chats search birds",
    "edgelm chats export 12 -o birds.md",
)

_LISTED = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    add_json(parser)
    parser.set_defaults(action=_list, first=_LISTED)
    actions = parser.add_subparsers(metavar="ACTION")
    _add_first(add_action(actions, "list", "list them, the latest first", _list, aliases=("ls",)))
    search = add_action(actions, "search", "those that hold all these words", _search)
    search.add_argument("words", nargs="+", metavar="WORD")
    _add_first(search)
    show = add_action(actions, "show", "print one", _show, aliases=("cat",))
    show.add_argument(
        "id", nargs="?", default="", metavar="ID", help="its number in the list (default: the latest)"
    )
    export = add_action(
        actions, "export", "write one to a new .md or, with all alternatives, .json file", _export
    )
    export.add_argument("id", metavar="ID", help="its number in the list")
    export.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: a name after its title, here"
    )
    remove = add_action(
        actions, "remove", "delete some; restore brings them back", _remove, aliases=("rm", "delete")
    )
    remove.add_argument("ids", nargs="+", metavar="ID", help="their numbers in the list")
    add_yes(remove)
    restore = add_action(actions, "restore", "bring back what was deleted", _restore)
    restore.add_argument("ids", nargs="+", metavar="ID", help="their numbers")


def _add_first(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--first", type=int, default=_LISTED, metavar="N", help=f"so many at most (default {_LISTED})"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        NotFoundError: no such chat.
        OptionError: a number that is none, or nobody to ask.
        OutputError: the database or a file cannot be written.
    """
    from edgelm.store.chats import Chats

    with closing(Chats()) as chats:
        arguments.action(chats, arguments)


def _list(chats: Chats, arguments: argparse.Namespace) -> None:
    _print(chats.sessions(limit=_first(arguments)), arguments, "no chat is saved yet: edgelm chat begins one")


def _search(chats: Chats, arguments: argparse.Namespace) -> None:
    sessions = chats.sessions(" ".join(arguments.words), limit=_first(arguments))
    _print(sessions, arguments, "nothing found")


def _first(arguments: argparse.Namespace) -> int:
    if arguments.first < 1:
        raise OptionError(f"--first is {arguments.first}, expected 1 or more")
    return int(arguments.first)


def _print(sessions: Sequence[ChatHead], arguments: argparse.Namespace, nothing: str) -> None:
    from rich.table import Table
    from rich.text import Text

    if arguments.json:
        print_json([_session_json(session) for session in sessions])
        return
    if not sessions:
        say(nothing)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("id", justify="right")
    for name in ("title", "model", "changed"):
        table.add_column(name, overflow="fold")
    for session in sessions:
        cells = (str(session.id), session.title, Path(session.model or "").name, _date(session.updated))
        table.add_row(*map(Text, cells))
    console().print(table)


def _show(chats: Chats, arguments: argparse.Namespace) -> None:
    session = _find(chats, arguments.id)
    path = chats.path(session.id)
    if arguments.json:
        print_json({**_session_json(session), "messages": [_message_json(message) for message in path]})
        return
    facts = {"title": session.title, "model": session.model or "", "changed": _date(session.updated)}
    for line in labelled({name: value for name, value in facts.items() if value}):
        print(line)
    for message in path:
        print(f"\n## {message.role.capitalize()}\n\n{message.content}")


def _export(chats: Chats, arguments: argparse.Namespace) -> None:
    from edgelm.store.chat_files import export_chat, export_name

    session = _find(chats, arguments.id)
    file = (arguments.output or Path(export_name(session.title))).expanduser()
    export_chat(chats, session.id, file)
    print_json({"file": file}) if arguments.json else print(file)


def _remove(chats: Chats, arguments: argparse.Namespace) -> None:
    sessions = [_find(chats, text) for text in dict.fromkeys(arguments.ids)]
    shown = ", ".join(f"{session.id} ({session.title})" for session in sessions)
    if not confirmed(f"Remove {shown}?", yes=arguments.yes):
        say("nothing was removed")
        return
    for session in sessions:
        chats.delete(session.id)
    numbers = [session.id for session in sessions]
    print_json({"removed": numbers}) if arguments.json else print(f"removed {shown}")
    say(f"edgelm chats restore {' '.join(map(str, numbers))} brings it back, for 30 days")


def _restore(chats: Chats, arguments: argparse.Namespace) -> None:
    sessions = [_find(chats, text) for text in dict.fromkeys(arguments.ids)]
    for session in sessions:
        chats.restore(session.id)
    numbers = [session.id for session in sessions]
    print_json({"restored": numbers}) if arguments.json else print(f"restored {', '.join(map(str, numbers))}")


def _find(chats: Chats, text: str) -> ChatHead:
    from edgelm.cli.chat.chat_recorder import find_chat

    return find_chat(chats, text)


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"


def _session_json(session: ChatHead) -> dict[str, Any]:
    names = ("id", "title", "folder", "model", "settings", "created", "updated")
    return {name: getattr(session, name) for name in names}


def _message_json(message: Message) -> dict[str, Any]:
    fields = {
        "role": message.role,
        "content": message.content,
        "model": message.model,
        "state": message.state,
    }
    return {**fields, **({"thinking": message.thinking} if message.thinking else {})}
