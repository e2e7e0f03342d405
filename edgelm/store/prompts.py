"""What the user has asked before, for the arrow keys of a prompt."""

from __future__ import annotations

from edgelm.store.chats import Chats


def recent_prompts(chats: Chats, *, limit: int = 200) -> list[str]:
    """List what was asked, the newest first, each once; of deleted chats nothing."""
    rows = chats._database.rows(
        "SELECT m.content, max(m.id) AS last FROM chat_messages AS m JOIN chat_sessions AS s ON s.id = m.session_id"
        " WHERE m.role = 'user' AND m.content <> '' AND m.deleted IS NULL AND s.deleted IS NULL"
        " GROUP BY m.content ORDER BY last DESC LIMIT ?",
        limit,
    )
    return [row["content"] for row in rows]
