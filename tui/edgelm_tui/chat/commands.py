"""The commands of the prompt: each is an action of the chat screen."""

from __future__ import annotations

import difflib

COMMANDS = {
    "/new": "a new chat",
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
    "/quit": "leave",
}


def parse(line: str) -> tuple[str, str] | None:
    """A command and what follows it; None where `line` is no command. `//` begins a text with a slash."""
    if not line.startswith("/") or line.startswith("//"):
        return None
    name, _, rest = line.partition(" ")
    return name.strip(), rest.strip()


def nearest(name: str) -> str | None:
    """The command that may have been meant."""
    return next(iter(difflib.get_close_matches(name, COMMANDS, n=1)), None)
