"""The tables of saved chats, and their rows as frozen values.

A chat is a tree: each message has a parent (none for the first ones), siblings stand in the order they were made,
and every node remembers which child was looked at last. What is shown is the path of those children.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from edgelm.store.database import Schema

Role = Literal["user", "assistant", "tool"]
"""`tool` is what a function that was called returned."""
State = Literal["complete", "writing", "stopped", "length", "failed"]
"""The state of an answer: `writing` is under way, `length` was cut at the token limit."""

SCHEMA = Schema(
    "chats",
    (
        """\
CREATE TABLE chat_folders (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE chat_sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    folder_id INTEGER REFERENCES chat_folders (id) ON DELETE SET NULL,
    model TEXT,
    settings TEXT NOT NULL DEFAULT '{}',
    draft TEXT NOT NULL DEFAULT '',
    active_child INTEGER,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    deleted REAL
);
CREATE INDEX chat_sessions_updated ON chat_sessions (updated);
CREATE TABLE chat_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
    parent_id INTEGER REFERENCES chat_messages (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    thinking TEXT NOT NULL DEFAULT '',
    tool_calls TEXT NOT NULL DEFAULT '[]',
    state TEXT NOT NULL DEFAULT 'complete',
    writer INTEGER,
    model TEXT,
    adapter TEXT,
    usage TEXT NOT NULL DEFAULT '{}',
    rating INTEGER NOT NULL DEFAULT 0,
    edited_from INTEGER REFERENCES chat_messages (id) ON DELETE SET NULL,
    active_child INTEGER,
    created REAL NOT NULL,
    deleted REAL
);
CREATE INDEX chat_messages_tree ON chat_messages (session_id, parent_id);
CREATE INDEX chat_messages_parent ON chat_messages (parent_id);
CREATE TABLE chat_attachments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
    message_id INTEGER REFERENCES chat_messages (id) ON DELETE CASCADE,
    queued_id INTEGER REFERENCES chat_queue (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX chat_attachments_message ON chat_attachments (message_id);
CREATE TABLE chat_queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id INTEGER NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
    text TEXT NOT NULL
);
CREATE VIRTUAL TABLE chat_search USING fts5 (
    content, content='chat_messages', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
);
CREATE TRIGGER chat_search_insert AFTER INSERT ON chat_messages BEGIN
    INSERT INTO chat_search (rowid, content) VALUES (new.id, new.content);
END;
CREATE TRIGGER chat_search_update AFTER UPDATE OF content ON chat_messages BEGIN
    INSERT INTO chat_search (chat_search, rowid, content) VALUES ('delete', old.id, old.content);
    INSERT INTO chat_search (rowid, content) VALUES (new.id, new.content);
END;
CREATE TRIGGER chat_search_delete AFTER DELETE ON chat_messages BEGIN
    INSERT INTO chat_search (chat_search, rowid, content) VALUES ('delete', old.id, old.content);
END;
""",
        # Of answers that are there already only the chat's present settings are known.
        """\
ALTER TABLE chat_messages ADD COLUMN made_under TEXT;
UPDATE chat_messages SET made_under = (
    SELECT json_object(
        'system', coalesce(json_extract(s.settings, '$.system'), '')
    ) FROM chat_sessions AS s WHERE s.id = chat_messages.session_id
) WHERE role = 'assistant';
""",
    ),
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text that goes before a prompt: a file, or a long paste."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """One node of a chat's tree."""

    id: int
    session_id: int
    parent_id: int | None
    role: Role
    content: str
    thinking: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    state: State = "complete"
    model: str | None = None
    adapter: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    rating: int = 0
    """1, -1, or 0 for none."""
    edited_from: int | None = None
    """The answer that this one corrects."""
    created: float = 0.0
    """Seconds since 1970, as everywhere here."""
    attachments: tuple[Attachment, ...] = ()
    made_under: dict[str, Any] = field(default_factory=dict)
    """For an answer, the `system` prompt, `thinking` and `tools` that it was made under, whatever the chat has now."""

    @property
    def is_cut(self) -> bool:
        """Whether it could be continued."""
        return self.role == "assistant" and self.state in ("stopped", "length", "failed")

    def prompt_text(self) -> str:
        """Return what the model reads: the attachments, each between marks with its name, and then the text."""
        parts = [f"<file name={file.name!r}>\n{file.text}\n</file>" for file in self.attachments]
        return "\n\n".join([*parts, self.content] if self.content else parts)


@dataclass(frozen=True, slots=True)
class ChatHead:
    """One chat, without its messages."""

    id: int
    title: str
    folder: str | None
    model: str | None
    settings: dict[str, Any]
    """System prompt, sampling, schema, adapter and scale: whatever the app keeps for a chat."""
    draft: str
    created: float
    updated: float
    deleted: float | None = None
    snippet: str = ""
    """What a search found: the words around the first match, which stands between `\\x02` and `\\x03`."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A prompt that waits for the answer under way."""

    id: int
    text: str
    attachments: tuple[Attachment, ...] = ()
