"""Saved chats: sessions and folders, search, deletion with undo, drafts and queued prompts.

    with Chats() as chats:
        session = chats.create(model="smollm2")
        question = chats.add(session.id, None, "user", "Why is the sky blue?")

Every call is one transaction of the user's database, so a killed process loses nothing that a call returned for,
and several processes may write at once: each message names its parent, so two answers to one question become
siblings. The tree is in `edgelm.store.messages`. Knows no model and no screen.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.errors import NotFoundError
from edgelm.store.chat_schema import SCHEMA, Attachment, ChatHead, Queued
from edgelm.store.database import BUSY_TIMEOUT_S, Database
from edgelm.store.messages import MessageTree, adopt_attachments, copy_messages, take_queued
from edgelm.store.titles import title_of

IN_MEMORY = Path(":memory:")
"""SQLite's name for a database that is gone when it is closed."""
UNTITLED = "New chat"
_KEEP_DELETED_S = 30 * 24 * 3600
_OF_DRAFT = "session_id = ? AND message_id IS NULL AND queued_id IS NULL"
_SESSIONS = """
SELECT s.*, f.name AS folder FROM chat_sessions AS s LEFT JOIN chat_folders AS f ON f.id = s.folder_id
"""


class Chats(MessageTree):
    """The saved chats of this user. Close it, or use it in a `with` block.

    Args:
        path: the database; None is the user's.
        timeout_s: how long a write waits for another process.

    Raises:
        FormatError, UnsupportedError, OutputError: see `Database`; every method may raise the last.
        NotFoundError: from methods that take an id, when it is gone.
    """

    def __init__(self, path: Path | None = None, *, timeout_s: float = BUSY_TIMEOUT_S) -> None:
        super().__init__(Database(path or paths.database(), SCHEMA, timeout_s=timeout_s))

    @property
    def is_kept(self) -> bool:
        """Whether what is written stays when the process ends."""
        return self._database.path != IN_MEMORY

    def close(self) -> None:
        """Close the database; again is a no-op."""
        self._database.close()

    def __enter__(self) -> Chats:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> int:
        """Return a number that changes when another process has written."""
        return int(self._database.rows("PRAGMA data_version")[0][0])

    def create(
        self, *, model: str | None = None, title: str = UNTITLED, settings: Mapping[str, Any] | None = None
    ) -> ChatHead:
        """Make an empty chat."""
        now = time.time()
        with self._database.transaction() as rows:
            inserted = rows.execute(
                "INSERT INTO chat_sessions (title, model, settings, created, updated) VALUES (?, ?, ?, ?, ?)",
                (title, model, _json(settings or {}), now, now),
            )
        return self.session(_new_id(inserted))

    def session(self, session_id: int) -> ChatHead:
        """Read one chat, deleted or not."""
        row = self._database.row(f"{_SESSIONS} WHERE s.id = ?", session_id)
        if row is None:
            raise NotFoundError(f"there is no chat {session_id}", hint="edgelm chats lists them")
        return _session(row)

    def is_there(self, session_id: int) -> bool:
        """Tell whether a chat is neither deleted nor gone."""
        return (
            self._database.row("SELECT 1 FROM chat_sessions WHERE id = ? AND deleted IS NULL", session_id)
            is not None
        )

    def sessions(self, query: str = "", *, limit: int = 1000, deleted: bool = False) -> list[ChatHead]:
        """List chats by date, newest first; with a `query`, those whose title or messages hold all its words."""
        where = "s.deleted IS NOT NULL" if deleted else "s.deleted IS NULL"
        if not query.strip():
            rows = self._database.rows(f"{_SESSIONS} WHERE {where} ORDER BY s.updated DESC LIMIT ?", limit)
            return [_session(row) for row in rows]
        hits = self._hits(query)
        named = {row["id"] for row in self._titled(query)}
        rows = self._database.rows(f"{_SESSIONS} WHERE {where} ORDER BY s.updated DESC")
        return [_session(row, hits.get(row["id"], "")) for row in rows if row["id"] in named | hits.keys()][
            :limit
        ]

    def latest(self) -> ChatHead | None:
        """Read the chat that was written to last; None where there is none."""
        return next(iter(self.sessions(limit=1)), None)

    def rename(self, session_id: int, title: str) -> None:
        """Give a chat another title."""
        self._set(session_id, "title", title.strip() or UNTITLED)

    def name_after(self, session_id: int, prompt: str) -> None:
        """Name a chat that has no title of its own after its first prompt."""
        title = title_of(prompt)
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE chat_sessions SET title = ? WHERE id = ? AND title = ?",
                (title or UNTITLED, session_id, UNTITLED),
            )

    def set_model(self, session_id: int, model: str | None) -> None:
        """Note which model the chat is with."""
        self._set(session_id, "model", model)

    def set_settings(self, session_id: int, settings: Mapping[str, Any]) -> None:
        """Replace the chat's settings, plain JSON values."""
        self._set(session_id, "settings", _json(settings))

    def set_draft(self, session_id: int, text: str) -> None:
        """Keep what is typed and not sent."""
        self._set(session_id, "draft", text)

    def draft_attachments(self, session_id: int) -> list[Attachment]:
        """Read what is attached and not sent."""
        rows = self._database.rows(
            f"SELECT name, text FROM chat_attachments WHERE {_OF_DRAFT} ORDER BY id", session_id
        )
        return [Attachment(row["name"], row["text"]) for row in rows]

    def set_draft_attachments(self, session_id: int, attachments: Sequence[Attachment]) -> None:
        """Keep what is attached and not sent, in the place of what was."""
        if self.draft_attachments(session_id) == list(attachments):
            return
        with self._database.transaction() as rows:
            rows.execute(f"DELETE FROM chat_attachments WHERE {_OF_DRAFT}", (session_id,))
            adopt_attachments(rows, session_id, attachments)

    def delete(self, session_id: int) -> None:
        """Hide a chat; `restore` brings it back, `purge` ends it after a month."""
        self._set(session_id, "deleted", time.time())

    def restore(self, session_id: int) -> None:
        """Bring back a chat that `delete` has hidden."""
        self._set(session_id, "deleted", None)

    def purge(self, *, older_than_s: float = _KEEP_DELETED_S) -> int:
        """Really delete what was deleted long ago; returns how many chats that were."""
        with self._database.transaction() as rows:
            limit = time.time() - older_than_s
            rows.execute("DELETE FROM chat_messages WHERE deleted < ?", (limit,))
            return rows.execute("DELETE FROM chat_sessions WHERE deleted < ?", (limit,)).rowcount

    def duplicate(self, session_id: int) -> ChatHead:
        """Copy a chat with all branches, settings and attachments."""
        original = self.session(session_id)
        now = time.time()
        with self._database.transaction() as rows:
            inserted = rows.execute(
                "INSERT INTO chat_sessions (title, folder_id, model, settings, created, updated)"
                " SELECT ?, folder_id, model, settings, ?, ? FROM chat_sessions WHERE id = ?",
                (f"{original.title} (copy)", now, now, session_id),
            )
            copy = _new_id(inserted)
            copy_messages(rows, session_id, copy)
        return self.session(copy)

    def branch(self, message_id: int) -> ChatHead:
        """Make a new chat of a message and all above it."""
        lineage = self.lineage(message_id)
        original = self.session(lineage[0].session_id)
        branch = self.create(
            model=original.model, title=f"{original.title} (branch)", settings=original.settings
        )
        last: int | None = None
        for message in lineage:
            last = self.add(
                branch.id,
                last,
                message.role,
                message.content,
                attachments=message.attachments,
                state="stopped" if message.state == "writing" else message.state,
                model=message.model,
                adapter=message.adapter,
                thinking=message.thinking,
                tool_calls=message.tool_calls,
                made_under=message.made_under,
            ).id
        return branch

    def folders(self) -> list[str]:
        """List the names of folders, in order."""
        return [row["name"] for row in self._database.rows("SELECT name FROM chat_folders ORDER BY name")]

    def move(self, session_id: int, folder: str | None) -> None:
        """Put a chat into a folder, made if it is not there; None takes it out. Empty folders vanish."""
        self.session(session_id)
        with self._database.transaction() as rows:
            if folder:
                rows.execute("INSERT OR IGNORE INTO chat_folders (name) VALUES (?)", (folder,))
            rows.execute(
                "UPDATE chat_sessions SET folder_id = (SELECT id FROM chat_folders WHERE name = ?) WHERE id = ?",
                (folder, session_id),
            )
            rows.execute(
                "DELETE FROM chat_folders WHERE id NOT IN"
                " (SELECT folder_id FROM chat_sessions WHERE folder_id IS NOT NULL)"
            )

    def queue(self, session_id: int, text: str, attachments: Iterable[Attachment] = ()) -> int:
        """Put a prompt behind those that wait; returns its id."""
        with self._database.transaction() as rows:
            queued_id = _new_id(
                rows.execute("INSERT INTO chat_queue (session_id, text) VALUES (?, ?)", (session_id, text))
            )
            adopt_attachments(rows, session_id, attachments, queued_id=queued_id)
        return queued_id

    def queued(self, session_id: int) -> list[Queued]:
        """List the prompts that wait, first the next."""
        rows = self._database.rows("SELECT * FROM chat_queue WHERE session_id = ? ORDER BY id", session_id)
        return [Queued(row["id"], row["text"], self._attachments("queued_id", row["id"])) for row in rows]

    def unqueue(self, queued_id: int) -> bool:
        """Take a prompt out, to drop it; False if another process was faster. `add` takes one out to send it."""
        with self._database.transaction() as rows:
            return take_queued(rows, queued_id)

    def _hits(self, query: str) -> dict[int, str]:
        """ChatHead → snippet of its best message."""
        words = re.findall(r"\w+", query)
        if not words:
            return {}
        if any(ord(letter) > 0x2E7F for letter in query):  # scripts without spaces: words are not tokens
            rows = self._database.rows(
                "SELECT session_id, substr(content, max(1, instr(content, ?) - 20), 60) AS snippet"
                " FROM chat_messages WHERE deleted IS NULL AND content LIKE '%' || ? || '%' LIMIT 500",
                query.strip(),
                query.strip(),
            )
        else:
            rows = self._database.rows(
                "SELECT m.session_id, snippet(chat_search, 0, char(2), char(3), '…', 10) AS snippet"
                " FROM chat_search JOIN chat_messages AS m ON m.id = chat_search.rowid"
                " WHERE chat_search MATCH ? AND m.deleted IS NULL ORDER BY rank LIMIT 500",
                " ".join(f'"{word}"*' for word in words),
            )
        hits: dict[int, str] = {}
        for row in rows:
            hits.setdefault(row["session_id"], " ".join(row["snippet"].split()))
        return hits

    def _titled(self, query: str) -> list[sqlite3.Row]:
        pattern = re.sub(r"([%_\\])", r"\\\1", query.strip())
        return self._database.rows(
            "SELECT id FROM chat_sessions WHERE title LIKE '%' || ? || '%' ESCAPE '\\'", pattern
        )

    def _set(self, session_id: int, column: str, value: object) -> None:
        with self._database.transaction() as rows:
            changed = rows.execute(
                f"UPDATE chat_sessions SET {column} = ? WHERE id = ?",
                (value, session_id),
            ).rowcount
        if not changed:
            self.session(session_id)


def _session(row: sqlite3.Row, snippet: str = "") -> ChatHead:
    return ChatHead(
        id=row["id"],
        title=row["title"],
        folder=row["folder"],
        model=row["model"],
        settings=json.loads(row["settings"]),
        draft=row["draft"],
        created=row["created"],
        updated=row["updated"],
        deleted=row["deleted"],
        snippet=snippet,
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False)


def _new_id(cursor: sqlite3.Cursor) -> int:
    if cursor.lastrowid is None:
        raise NotFoundError("nothing was written")
    return cursor.lastrowid
