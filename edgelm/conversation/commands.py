"""The commands of the prompt: those of the app, with what each is for, and how a line is recognised as one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from edgelm.errors import OptionError

COMMANDS = {
    "/new": "a new chat; /clear too",
    "/model": "[name]  change the model, keep the chat",
    "/system": "[text]  set the system prompt; without text, open the chat's settings",
    "/settings": "sampling, schema, adapter of this chat",
    "/attach": "FILE  attach a text file",
    "/editor": "write the prompt in $EDITOR",
    "/retry": "answer the last question again",
    "/continue": "go on with a cut answer",
    "/copy": "[n]  copy the last answer, or its nth code block",
    "/rename": "[title]  give the chat a title",
    "/folder": "[name]  put the chat into a folder, or take it out",
    "/duplicate": "copy the chat",
    "/delete": "delete the chat; /undo brings it back",
    "/undo": "bring back what was deleted last",
    "/export": "FILE  write the chat to a .md or .json file",
    "/import": "FILE  open a chat from a .md or .json file",
    "/feedback": "FILE [training|preferences|labels]  write rated and edited answers as rows to train on",
    "/search": "[words]  search all chats",
    "/help": "keys and what they do",
    "/theme": "[name]  change the colours",
    "/quit": "leave; /exit too",
}
ALIASES = {"/clear": "/new", "/exit": "/quit"}
_COMMAND = re.compile(r"/[A-Za-z][A-Za-z_-]*(?=\s|$)")


def parse(line: str) -> tuple[str, str] | None:
    """Split a line into a command and what follows it; None where it is text, as a path is, or begins with `//`."""
    command = _COMMAND.match(line)
    return (command[0], line[command.end() :].strip()) if command else None


def is_command(name: str) -> bool:
    """Tell whether there is such a command in the app."""
    return name in COMMANDS or name in ALIASES


def unknown_command(name: str, known: Iterable[str]) -> OptionError:
    """Make the error for a command that is none of `known`."""
    near = difflib.get_close_matches(name, list(known), n=1)
    meant = f", did you mean {near[0]}?" if near else ""
    return OptionError(
        f"no command {name}{meant}", hint="/help lists them; begin with // to send a line with a slash"
    )
