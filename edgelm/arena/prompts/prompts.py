"""Prompts as messages: of a shipped set, a file (a line of text each, or JSON), or the saved chats. Each is asked once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.arena.answering.origin import digest
from edgelm.arena.prompts.shipped import SETS, shipped
from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.messages.reader import read_messages
from edgelm.messages.values import MessageError
from edgelm.store.chats import Chats
from edgelm.store.saved_to_messages import turns

CHATS = "chats"
"""The name of one's own chats as prompts."""
Messages = list[dict[str, Any]]
Prompts = dict[str, Messages]
"""By digest."""


def read_prompts(source: str | Path | Iterable[str | Sequence[Mapping[str, Any]]]) -> Prompts:
    """Read prompts; equal ones are one.

    Args:
        source: a name of `SETS`, `chats`, a file, or the prompts themselves: text, or messages that end in a question.

    Raises:
        NotFoundError: no such file or set, or no chat is saved.
        FormatError: the file holds something else.
        OptionError: no prompts, or something that is none.
    """
    if isinstance(source, Path) or (isinstance(source, str) and source not in (*SETS, CHATS)):
        found = _of_file(Path(source).expanduser())
    elif source == CHATS:
        found = _of_chats()
    elif isinstance(source, str):
        found = [_asked(text) for text in shipped(source)]
    else:
        found = [_of_value(value, f"prompt {at}") for at, value in enumerate(source, 1)]
    if not found:
        raise OptionError(f"{source} holds no prompts, expected one at least")
    return {digest(messages): messages for messages in found}


def _asked(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _of_value(value: Any, where: str) -> Messages:
    if isinstance(value, str) and value.strip():
        return _asked(value)
    if isinstance(value, Mapping):
        held = [value[name] for name in ("prompt", "messages") if value.get(name)]
        if len(held) != 1:
            keys = ", ".join(map(str, value)) or "no keys"
            raise OptionError(f"{where} has {keys}, expected one of prompt and messages")
        return _of_value(held[0], where)
    try:
        messages = read_messages(value)
    except MessageError as error:
        raise OptionError(f"{where}: {error.message}") from error
    while messages and messages[-1]["role"] == "assistant":  # what is asked is the question before it
        messages.pop()
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise OptionError(f"{where} asks nothing, expected messages that end in a user's")
    return messages


def _of_file(path: Path) -> list[Messages]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        known = ", ".join((*SETS, CHATS))
        raise NotFoundError(
            f"there is no file {path}", hint=f"name a file of prompts, or one of {known}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from error
    if path.suffix.lower() not in (".jsonl", ".json", ".ndjson"):
        return [_asked(line.strip()) for line in text.splitlines() if line.strip()]
    try:
        if path.suffix.lower() == ".json":
            rows = list(enumerate(json.loads(text), 1))
        else:
            rows = [
                (number, json.loads(line)) for number, line in enumerate(text.split("\n"), 1) if line.strip()
            ]
        return [_of_value(row, f"row {number}") for number, row in rows]
    except (ValueError, RecursionError, TypeError) as error:
        raise FormatError(f"{path} is no JSON of prompts: {error}") from error
    except OptionError as error:
        raise FormatError(
            f"{path}: {error.message}", hint='as in {"prompt": "Why is the sky blue?"}'
        ) from error


def _of_chats() -> list[Messages]:
    """Every question of the saved chats with what went before it, under the system prompt of its chat."""
    found: list[Messages] = []
    with Chats() as chats:
        for session in chats.sessions():
            system = session.settings.get("system")
            first = [{"role": "system", "content": system}] if system else []
            path = chats.path(session.id)
            for at, message in enumerate(path):
                if message.role == "user" and message.content.strip():
                    told = turns(path[: at + 1])
                    if told and told[-1]["role"] == "user":
                        found.append([*first, *told])
    if not found:
        raise NotFoundError("no chat is saved yet", hint="edgelm chat begins one")
    return found
