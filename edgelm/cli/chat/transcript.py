"""Saves a chat as JSON or Markdown. Atomic, and never over a file that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import atomic_write, refuse_existing
from edgelm.errors import OptionError

Messages = Sequence[Mapping[str, Any]]


def default_file() -> Path:
    """Make a new name among the saved chats."""
    return paths.chats() / f"{datetime.now().astimezone():%Y-%m-%d-%H%M%S}.json"


def save(file: Path, messages: Messages, *, model: str) -> None:
    """Write `messages` to `file`, whose suffix (`.json`, `.md`) says how.

    Raises:
        OptionError: another suffix.
        OutputError: `file` is there already, or cannot be written.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    match file.suffix.lower():
        case ".json":
            text = _to_json(messages, model, created)
        case ".md" | ".markdown":
            text = _to_markdown(messages, model, created)
        case _:
            raise OptionError(f"{file} does not say how to save the chat, expected a name in .json or .md")
    refuse_existing(file)
    atomic_write(file, text)


def _to_json(messages: Messages, model: str, created: str) -> str:
    document = {"model": model, "created": created, "messages": [dict(message) for message in messages]}
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _to_markdown(messages: Messages, model: str, created: str) -> str:
    turns = [f"## {message['role'].capitalize()}\n\n{message['content'].strip()}\n" for message in messages]
    return "\n".join([f"# Chat with {model}\n\n{created}\n", *turns])
