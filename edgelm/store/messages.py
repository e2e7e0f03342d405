"""The tree of a chat's messages: branches, siblings, answers that grow, ratings.

An answer is begun, written to at intervals and finished. If its process dies in between, the part written last is
there, and the next one to open the chat finds it `stopped`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgelm.errors import NotFoundError, OptionError
from edgelm.processes import is_marked_alive, own_mark
from edgelm.store.chat_schema import Attachment, Message, Role, State
from edgelm.store.database import Database
from edgelm.store.newlines import unix_newlines

_COPIED = (
    "role, content, thinking, tool_calls, state, model, adapter, usage, rating, created, deleted, made_under"
)


class MessageTree:
    """What can be done with messages; a part of `edgelm.store.chats.Chats`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        session_id: int,
        parent_id: int | None,
        role: Role,
        content: str,
        *,
        attachments: Iterable[Attachment] = (),
        state: State = "complete",
        model: str | None = None,
        adapter: str | None = None,
        edited_from: int | None = None,
        thinking: str = "",
        tool_calls: Sequence[Mapping[str, Any]] = (),
        made_under: Mapping[str, Any] | None = None,
        queued_id: int | None = None,
    ) -> Message:
        """Add a last child to `parent_id` (None: to the chat itself), which becomes the one that is shown.

        An answer is made under the chat's present system prompt, unless `made_under` says otherwise.

        Args:
            queued_id: the waiting prompt that this is; the same transaction takes it out of the queue.

        Raises:
            NotFoundError: that prompt waits no more: another process was faster.
        """
        now = time.time()
        content = unix_newlines(content) if role == "user" else content
        with self._database.transaction() as rows:
            if queued_id is not None and not take_queued(rows, queued_id):
                raise NotFoundError(f"there is no waiting prompt {queued_id}")
            new_id = rows.execute(
                "INSERT INTO chat_messages (session_id, parent_id, role, content, state, writer, model, adapter,"
                " edited_from, thinking, tool_calls, created, made_under)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    session_id, parent_id, role, content, state, own_mark() if state == "writing" else None,
                    model, adapter, edited_from, thinking, _json(list(tool_calls)), now,
                    _under(rows, session_id, made_under) if role == "assistant" else None,
                ),
            ).lastrowid  # fmt: skip
            adopt_attachments(rows, session_id, attachments, message_id=new_id)
            _show(rows, session_id, parent_id, new_id)
            rows.execute("UPDATE chat_sessions SET updated = ? WHERE id = ?", (now, session_id))
        return self.message(new_id or 0)

    def message(self, message_id: int) -> Message:
        """Read one message.

        Raises:
            NotFoundError: it is gone.
        """
        row = self._database.row("SELECT * FROM chat_messages WHERE id = ?", message_id)
        if row is None:
            raise NotFoundError(f"there is no message {message_id}")
        return self._message(row)

    def path(self, session_id: int) -> list[Message]:
        """Read what is shown of a chat: from the first message down, at each the child that was looked at last."""
        self._end_orphans(session_id)
        rows = self._database.rows(
            "SELECT * FROM chat_messages WHERE session_id = ? AND deleted IS NULL ORDER BY id", session_id
        )
        children: dict[int | None, list[sqlite3.Row]] = {}
        for row in rows:
            children.setdefault(row["parent_id"], []).append(row)
        root = self._database.row("SELECT active_child FROM chat_sessions WHERE id = ?", session_id)
        wanted, path = root["active_child"] if root else None, []
        at: int | None = None
        while at in children:
            row = next((child for child in children[at] if child["id"] == wanted), children[at][-1])
            path.append(row)
            at, wanted = row["id"], row["active_child"]
        return self._messages(path, session_id)

    def lineage(self, message_id: int) -> list[Message]:
        """Read a message and all above it, the first one first."""
        path: list[Message] = []
        at: int | None = message_id
        while at is not None:
            path.append(self.message(at))
            at = path[-1].parent_id
        return path[::-1]

    def siblings(self, message_id: int) -> list[int]:
        """List the ids of a message and its alternatives, oldest first."""
        message = self.message(message_id)
        rows = self._database.rows(
            "SELECT id FROM chat_messages WHERE session_id = ? AND parent_id IS ? AND deleted IS NULL ORDER BY id",
            message.session_id,
            message.parent_id,
        )
        return [row["id"] for row in rows]

    def answers(
        self, prompt_id: int, *, model: str | None, adapter: str | None, under: Mapping[str, Any]
    ) -> int:
        """Count the answers to a prompt that this model has given under `under`, to their end or to the token limit.

        What an older answer does not say it was made under does not count against it.
        """
        rows = self._database.rows(
            "SELECT made_under FROM chat_messages WHERE parent_id = ? AND role = 'assistant' AND edited_from IS NULL"
            " AND state IN ('complete', 'length') AND model IS ? AND adapter IS ?",
            prompt_id,
            model,
            adapter,
        )
        wanted = json.loads(json.dumps(under))
        conditions = [json.loads(row["made_under"] or "{}") for row in rows]
        return sum(
            all(condition.get(key, value) == value for key, value in wanted.items())
            for condition in conditions
        )

    def sibling_places(self, session_id: int) -> dict[int, tuple[int, int]]:
        """Map messages that have alternatives to their place among them and the number of them: `(2, 3)`."""
        rows = self._database.rows(
            "SELECT id, row_number() OVER (PARTITION BY parent_id ORDER BY id) AS place,"
            " count(*) OVER (PARTITION BY parent_id) AS n"
            " FROM chat_messages WHERE session_id = ? AND deleted IS NULL",
            session_id,
        )
        return {row["id"]: (row["place"], row["n"]) for row in rows if row["n"] > 1}

    def show(self, message_id: int) -> None:
        """Make a message the one that is shown among its alternatives."""
        message = self.message(message_id)
        with self._database.transaction() as rows:
            _show(rows, message.session_id, message.parent_id, message_id)

    def write(
        self,
        message_id: int,
        content: str,
        *,
        thinking: str = "",
        tool_calls: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Put down all that an answer says so far."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE chat_messages SET content = ?, thinking = ?, tool_calls = ? WHERE id = ?",
                (content, thinking, _json(list(tool_calls)), message_id),
            )

    def finish(self, message_id: int, state: State, *, usage: Mapping[str, Any] | None = None) -> None:
        """Say how an answer ended, and what it cost."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE chat_messages SET state = ?, usage = ?, writer = NULL WHERE id = ?",
                (state, _json(dict(usage or {})), message_id),
            )

    def resume(self, message_id: int) -> None:
        """Begin to write to a cut answer again."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE chat_messages SET state = 'writing', writer = ? WHERE id = ?",
                (own_mark(), message_id),
            )

    def correct(self, message_id: int, content: str) -> Message:
        """Add the user's better version of an answer, as a sibling that is shown; both stay for training."""
        original = self.message(message_id)
        if original.role != "assistant":
            raise OptionError(f"message {message_id} is of the user, expected an answer")
        return self.add(
            original.session_id,
            original.parent_id,
            "assistant",
            content,
            model=original.model,
            adapter=original.adapter,
            edited_from=message_id,
            made_under=original.made_under,
        )

    def rate(self, message_id: int, rating: int) -> None:
        """Rate an answer: 1 is good, -1 is bad, 0 takes it back."""
        if rating not in (-1, 0, 1):
            raise OptionError(f"rating is {rating!r}, expected -1, 0 or 1")
        with self._database.transaction() as rows:
            rows.execute("UPDATE chat_messages SET rating = ? WHERE id = ?", (rating, message_id))

    def delete_message(self, message_id: int) -> None:
        """Hide a message and all below it; `restore_message` undoes that."""
        self._mark(message_id, time.time())

    def restore_message(self, message_id: int) -> None:
        """Undo `delete_message`, and show it again."""
        self._mark(message_id, None)
        self.show(message_id)

    def _mark(self, message_id: int, deleted: float | None) -> None:
        with self._database.transaction() as rows:
            rows.execute("UPDATE chat_messages SET deleted = ? WHERE id = ?", (deleted, message_id))

    def _end_orphans(self, session_id: int) -> None:
        """Answers whose writer has died were stopped by that."""
        rows = self._database.rows(
            "SELECT id, writer FROM chat_messages WHERE session_id = ? AND state = 'writing'", session_id
        )
        for row in rows:
            if row["writer"] is None or not is_marked_alive(row["writer"]):
                self.finish(row["id"], "stopped")

    def _messages(self, rows: list[sqlite3.Row], session_id: int) -> list[Message]:
        attached: dict[int, list[Attachment]] = {}
        for row in self._database.rows(
            "SELECT * FROM chat_attachments WHERE session_id = ? AND message_id IS NOT NULL ORDER BY id",
            session_id,
        ):
            attached.setdefault(row["message_id"], []).append(Attachment(row["name"], row["text"]))
        return [_message(row, tuple(attached.get(row["id"], ()))) for row in rows]

    def _message(self, row: sqlite3.Row) -> Message:
        return _message(row, self._attachments("message_id", row["id"]))

    def _attachments(self, owner: str, owner_id: int) -> tuple[Attachment, ...]:
        rows = self._database.rows(
            f"SELECT name, text FROM chat_attachments WHERE {owner} = ? ORDER BY id",
            owner_id,
        )
        return tuple(Attachment(row["name"], row["text"]) for row in rows)


def adopt_attachments(
    rows: sqlite3.Connection,
    session_id: int,
    attachments: Iterable[Attachment],
    *,
    message_id: int | None = None,
    queued_id: int | None = None,
) -> None:
    """Give attachments to a message, to a queued prompt, or to what is not sent yet."""
    rows.executemany(
        "INSERT INTO chat_attachments (session_id, message_id, queued_id, name, text) VALUES (?, ?, ?, ?, ?)",
        [(session_id, message_id, queued_id, file.name, unix_newlines(file.text)) for file in attachments],
    )


def take_queued(rows: sqlite3.Connection, queued_id: int) -> bool:
    """Take a prompt out of the queue; False if it is not there."""
    return rows.execute("DELETE FROM chat_queue WHERE id = ?", (queued_id,)).rowcount == 1


def copy_messages(rows: sqlite3.Connection, source: int, target: int) -> None:
    """Copy all messages and their attachments from one session to another."""
    new: dict[int | None, int | None] = {None: None}
    copied = rows.execute(
        "SELECT * FROM chat_messages WHERE session_id = ? ORDER BY id", (source,)
    ).fetchall()
    for row in copied:  # a parent is older than its children
        new[row["id"]] = rows.execute(
            f"INSERT INTO chat_messages (session_id, parent_id, edited_from, {_COPIED})"
            f" SELECT ?, ?, ?, {_COPIED} FROM chat_messages WHERE id = ?",
            (target, new[row["parent_id"]], new.get(row["edited_from"]), row["id"]),
        ).lastrowid
    for row in copied:
        rows.execute(
            "UPDATE chat_messages SET active_child = ?, state = iif(state = 'writing', 'stopped', state) WHERE id = ?",
            (new.get(row["active_child"]), new[row["id"]]),
        )
        rows.execute(
            "INSERT INTO chat_attachments (session_id, message_id, name, text)"
            " SELECT ?, ?, name, text FROM chat_attachments WHERE message_id = ?",
            (target, new[row["id"]], row["id"]),
        )
    shown = rows.execute("SELECT active_child FROM chat_sessions WHERE id = ?", (source,)).fetchone()
    rows.execute(
        "UPDATE chat_sessions SET active_child = ? WHERE id = ?", (new.get(shown["active_child"]), target)
    )


def _show(rows: sqlite3.Connection, session_id: int, parent_id: int | None, child: int | None) -> None:
    if parent_id is None:
        rows.execute("UPDATE chat_sessions SET active_child = ? WHERE id = ?", (child, session_id))
    else:
        rows.execute("UPDATE chat_messages SET active_child = ? WHERE id = ?", (child, parent_id))


def _message(row: sqlite3.Row, attachments: tuple[Attachment, ...]) -> Message:
    return Message(
        id=row["id"],
        session_id=row["session_id"],
        parent_id=row["parent_id"],
        role=row["role"],
        content=row["content"],
        thinking=row["thinking"],
        tool_calls=tuple(json.loads(row["tool_calls"])),
        state=row["state"],
        model=row["model"],
        adapter=row["adapter"],
        usage=json.loads(row["usage"]),
        rating=row["rating"],
        edited_from=row["edited_from"],
        created=row["created"],
        attachments=attachments,
        made_under=json.loads(row["made_under"] or "{}"),
    )


def _under(rows: sqlite3.Connection, session_id: int, given: Mapping[str, Any] | None) -> str:
    """What an answer is made under: what is said, over the chat's present settings."""
    row = rows.execute("SELECT settings FROM chat_sessions WHERE id = ?", (session_id,)).fetchone()
    settings = json.loads(row["settings"]) if row else {}
    known = {"system": settings.get("system") or "", "thinking": settings.get("thinking"), **(given or {})}
    return _json({name: value for name, value in known.items() if value is not None})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
