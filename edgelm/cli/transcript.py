"""Saves a chat as JSON or Markdown. Atomic, and never over a file that is there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.errors import OptionError, OutputError

Messages = Sequence[Mapping[str, Any]]


def default_file() -> Path:
    """A new name among the saved chats."""
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
    if os.path.lexists(file):
        raise OutputError(f"{file} exists", hint="give another name: a saved chat is never overwritten")
    try:
        _write_new(file, text)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror or error}") from error


def _to_json(messages: Messages, model: str, created: str) -> str:
    said = {"model": model, "created": created, "messages": [dict(message) for message in messages]}
    return json.dumps(said, ensure_ascii=False, indent=2) + "\n"


def _to_markdown(messages: Messages, model: str, created: str) -> str:
    parts = [f"# Chat with {model}\n\n{created}\n"]
    for message in messages:
        parts.append(
            f"## {str(message['role']).capitalize()}\n\n{str(message.get('content') or '').strip()}\n"
        )
    return "\n".join(parts)


def _write_new(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(name).rename(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
