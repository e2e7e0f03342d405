"""Chats as files: JSON that keeps the whole tree, Markdown that people read; both can be read back.

    {"edgelm_chat": 1, "title": …, "model": …, "settings": {…}, "messages": [{"id", "parent", "role", …}]}

Import also takes `{"messages": [{"role", "content"}]}`, which `edgelm chat` saves and datasets hold. From Markdown comes the
path that was shown: headings `## User` and `## Assistant` begin its turns.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgelm.atomic import atomic_write, refuse_existing
from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.messages.reader import read_turns
from edgelm.messages.values import MessageError
from edgelm.store.chat_schema import Attachment, ChatHead, Message, Role
from edgelm.store.chats import UNTITLED, Chats

_VERSION = 1
_HEADING = re.compile(r"^## (User|Assistant|System)[^\n]*\n", re.MULTILINE)
_SYSTEM = ("system", "developer")
_STATES = ("complete", "stopped", "length", "failed")


def export_chat(chats: Chats, session_id: int, file: Path) -> None:
    """Write a chat to `file`, whose suffix (`.json`, `.md`) says how.

    Raises:
        OptionError: another suffix.
        OutputError: `file` is there already, or cannot be written.
    """
    session = chats.session(session_id)
    match file.suffix.lower():
        case ".json":
            text = _to_json(session, chats)
        case ".md" | ".markdown":
            text = _to_markdown(session, chats)
        case _:
            raise OptionError(f"{file} does not say how to export the chat, expected a name in .json or .md")
    refuse_existing(file)
    atomic_write(file, text)


def import_chat(chats: Chats, file: Path) -> ChatHead:
    """Make a new chat of what `file` holds.

    Raises:
        NotFoundError: no such file.
        FormatError: it holds no chat.
        OptionError: neither `.json` nor `.md`.
    """
    if file.suffix.lower() not in (".json", ".md", ".markdown"):
        raise OptionError(f"{file} is no chat, expected a name in .json or .md")
    text = _read(file)
    return (
        _from_json(text, file, chats) if file.suffix.lower() == ".json" else _from_markdown(text, file, chats)
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{file} cannot be read: {error}") from error


def _to_json(session: ChatHead, chats: Chats) -> str:
    rows = chats._database.rows(
        "SELECT * FROM chat_messages WHERE session_id = ? AND deleted IS NULL ORDER BY id", session.id
    )
    # Children of a deleted message are as gone as it is.
    kept: set[int | None] = {None}
    messages = []
    for message in chats._messages(rows, session.id):
        if message.parent_id in kept:
            kept.add(message.id)
            messages.append(_as_json(message))
    document = {
        "edgelm_chat": _VERSION,
        "title": session.title,
        "model": session.model,
        "created": datetime.fromtimestamp(session.created, UTC).isoformat(timespec="seconds"),
        "settings": session.settings,
        "shown": [message.id for message in chats.path(session.id)],
        "messages": messages,
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _as_json(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": message.id,
        "parent": message.parent_id,
        "role": message.role,
        "content": message.content,
        "thinking": message.thinking,
        "tool_calls": list(message.tool_calls),
        "state": "stopped" if message.state == "writing" else message.state,
        "model": message.model,
        "adapter": message.adapter,
        "rating": message.rating,
        "edited_from": message.edited_from,
        "usage": message.usage,
        "made_under": message.made_under,
        "attachments": [{"name": file.name, "text": file.text} for file in message.attachments],
    }
    return {key: value for key, value in fields.items() if value or key in ("content", "parent")}


def _to_markdown(session: ChatHead, chats: Chats) -> str:
    system = session.settings.get("system")
    parts = [f"# {session.title}\n", f"{session.model or 'no model'}, {_day(session.created)}\n"]
    parts += [f"## System\n\n{system.strip()}\n"] if system else []
    for message in chats.path(session.id):
        files = [f"> attached: {file.name}\n" for file in message.attachments]
        parts.append("\n".join([f"## {message.role.capitalize()}\n", *files, f"{message.content.strip()}\n"]))
    return "\n".join(parts)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def _from_json(text: str, file: Path, chats: Chats) -> ChatHead:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(document, dict) or "messages" not in document:
        raise FormatError(f"{file} holds no chat, expected an object with messages of role and content")
    turns = _read_turns(document["messages"], file)
    saved = document.get("settings")
    settings: dict[str, Any] = saved if isinstance(saved, dict) else {}
    systems = [turn["content"] for turn in turns if turn["role"] in _SYSTEM]
    if systems:
        settings = {**settings, "system": systems[0]}
    title = document.get("title") if isinstance(document.get("title"), str) else file.stem
    model = document.get("model") if isinstance(document.get("model"), str) else None
    session = chats.create(model=model, title=title or UNTITLED, settings=settings)
    _add_turns(chats, session.id, [turn for turn in turns if turn["role"] not in _SYSTEM], document)
    return session


def _read_turns(messages: Any, file: Path) -> list[dict[str, Any]]:
    """The messages; calls that could not be read when they were made are kept as they are."""
    unread = [_unread(message) for message in messages] if isinstance(messages, list) else []
    given = (
        [
            {**message, "tool_calls": [call for call in message["tool_calls"] if call not in left]}
            if left
            else message
            for message, left in zip(messages, unread, strict=True)
        ]
        if isinstance(messages, list)
        else messages
    )
    try:
        turns = read_turns(given)
    except MessageError as error:
        raise FormatError(f"{file} holds no chat: {error.message}") from error
    for turn, left in zip(turns, unread, strict=True):
        if left:
            turn["tool_calls"] = [*turn.get("tool_calls", ()), *left]
    return turns


def _unread(message: Any) -> list[dict[str, Any]]:
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    return (
        [call for call in calls if isinstance(call, dict) and call.get("error")]
        if isinstance(calls, list)
        else []
    )


def _add_turns(chats: Chats, session_id: int, turns: list[dict[str, Any]], document: dict[str, Any]) -> None:
    new: dict[Any, int] = {}
    last: int | None = None
    for turn in turns:
        parent = new.get(turn["parent"]) if "parent" in turn else last
        state = turn.get("state")
        message = chats.add(
            session_id,
            parent,
            turn["role"],
            turn["content"],
            state=state if state in _STATES else "complete",
            model=turn.get("model"),
            adapter=turn.get("adapter"),
            thinking=turn.get("reasoning_content", ""),
            tool_calls=turn.get("tool_calls") or (),
            edited_from=new.get(turn.get("edited_from")),
            made_under=turn["made_under"] if isinstance(turn.get("made_under"), dict) else None,
            attachments=[Attachment(str(f["name"]), str(f["text"])) for f in turn.get("attachments") or ()],
        )
        if turn.get("rating") in (1, -1):
            chats.rate(message.id, turn["rating"])
        last = new[turn.get("id")] = message.id
    for shown in document.get("shown") or ():
        if shown in new:
            chats.show(new[shown])


def _from_markdown(text: str, file: Path, chats: Chats) -> ChatHead:
    parts = _HEADING.split(text)
    if len(parts) < 3:
        raise FormatError(f"{file} holds no chat, expected headings like `## User`")
    title = re.search(r"^# (.+)$", parts[0], re.MULTILINE)
    turns = [(parts[at].lower(), parts[at + 1].strip()) for at in range(1, len(parts), 2)]
    settings = dict(turn for turn in turns if turn[0] == "system")
    session = chats.create(title=title[1] if title else file.stem, settings=settings)
    last: int | None = None
    for role, text_of_turn in turns:
        if role != "system":
            kind: Role = "user" if role == "user" else "assistant"
            last = chats.add(session.id, last, kind, text_of_turn).id
    return session


def export_name(title: str) -> str:
    """Make a name for the file that a chat is exported to, of its title."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    return "-".join(part for part in kept.split("-") if part)[:40] + ".md"
