"""Ratings of answers, and the rows to train on that come of them."""

from __future__ import annotations

from edgelm.conversation.typed_paths import path_of
from edgelm.errors import OptionError
from edgelm.store.chat_schema import Message
from edgelm.store.chats import Chats
from edgelm.units import count

KINDS = ("training", "preferences", "labels")


def rate(chats: Chats, message: Message, rating: int) -> int:
    """Rate an answer 1 or -1, or take the same rating back; returns what it is now, 0 for none.

    Raises:
        OptionError: it is no answer.
    """
    if message.role != "assistant":
        raise OptionError("only answers are rated")
    now = 0 if message.rating == rating else rating
    chats.rate(message.id, now)
    return now


def write_feedback(chats: Chats, words: str) -> str:
    """Do `/feedback FILE [KIND]`; returns what was done, in words.

    Raises:
        OptionError: no file, or no rows yet.
        OutputError: it is there already, or cannot be written.
    """
    from edgelm.store.feedback import export_feedback

    first, _, last = words.rpartition(" ")
    name, kind = (first.strip(), last) if last in KINDS else (words.strip(), "preferences")
    if not name:
        raise OptionError("no file is named", hint="/feedback rows.jsonl preferences")
    file = path_of(name)
    rows = export_feedback(chats, file, kind)  # type: ignore[arg-type]
    return f"{count(rows, f'{kind} row')} written to {file}"
