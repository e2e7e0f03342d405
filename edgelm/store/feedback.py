"""What the user's ratings and corrections teach, as rows to train on.

    training      {"messages": […]}: answers rated + or written by the user
    preferences   {"prompt": […], "chosen": […], "rejected": […]}: a correction over what it corrects, and + over −
                  among the answers to one prompt
    labels        {"prompt": […], "completion": […], "label": true}: every rated answer (for KTO)

Rows are derived from the saved chats whenever they are asked for, so that a rating taken back leaves none behind. Deleted
chats and messages give none.
The system prompt is the one that the answer was made under, not the chat's present one. The format is TRL's conversational one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edgelm.atomic import atomic_write, refuse_existing
from edgelm.errors import OptionError
from edgelm.store.chat_schema import Message
from edgelm.store.chats import Chats
from edgelm.store.saved_to_messages import turns

Kind = Literal["training", "preferences", "labels"]
Row = dict[str, Any]


def training_rows(chats: Chats) -> list[Row]:
    """List conversations that end in an answer worth imitating."""
    return [
        {"messages": [*_prompt(chats, good), _turn(good)], **_tools(good)}
        for good in _judged(chats)
        if _is_good(good)
    ]


def label_rows(chats: Chats) -> list[Row]:
    """List every rated answer with its verdict."""
    return [
        {
            "prompt": _prompt(chats, answer),
            "completion": [_turn(answer)],
            "label": answer.rating > 0,
            **_tools(answer),
        }
        for answer in _judged(chats)
        if answer.rating
    ]


def preference_rows(chats: Chats) -> list[Row]:
    """List pairs of answers to the same prompt of which one is better."""
    return [
        {"prompt": _prompt(chats, good), "chosen": [_turn(good)], "rejected": [_turn(bad)], **_tools(good)}
        for good, bad in _pairs(chats)
        if good.content != bad.content
    ]


def export_feedback(chats: Chats, file: Path, kind: Kind) -> int:
    """Write the rows of one kind to `file` as JSON lines; returns how many there are.

    Raises:
        OptionError: there are none.
        OutputError: `file` is there already, or cannot be written.
    """
    rows = {"training": training_rows, "preferences": preference_rows, "labels": label_rows}[kind](chats)
    if not rows:
        raise OptionError(
            f"there are no {kind} rows yet", hint="rate answers with + and -, or edit an answer, in the app"
        )
    refuse_existing(file)
    atomic_write(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return len(rows)


def _pairs(chats: Chats) -> Iterator[tuple[Message, Message]]:
    judged = list(_judged(chats))
    for good in judged:
        if not _is_good(good):
            continue
        rivals = {bad.id: bad for bad in judged if bad.rating < 0 and _same_prompt(good, bad)}
        if good.edited_from is not None:
            rivals[good.edited_from] = chats.message(good.edited_from)
        yield from ((good, bad) for bad in rivals.values() if bad.id != good.id)


def _judged(chats: Chats) -> Iterator[Message]:
    """Answers with a rating, or written by the user, of chats that are not deleted."""
    found = chats._database.rows(
        "SELECT m.* FROM chat_messages AS m JOIN chat_sessions AS s ON s.id = m.session_id"
        " WHERE m.role = 'assistant' AND m.deleted IS NULL AND s.deleted IS NULL"
        " AND (m.rating <> 0 OR m.edited_from IS NOT NULL) ORDER BY m.id"
    )
    return (chats._message(row) for row in found)


def _is_good(answer: Message) -> bool:
    return answer.rating > 0 or (answer.edited_from is not None and answer.rating == 0)


def _same_prompt(one: Message, other: Message) -> bool:
    """Whether both answer the same question under the same system prompt and tools."""
    return (one.session_id, one.parent_id, _shaping(one)) == (
        other.session_id,
        other.parent_id,
        _shaping(other),
    )


def _shaping(answer: Message) -> tuple[Any, Any]:
    return answer.made_under.get("system") or "", answer.made_under.get("tools") or []


def _tools(answer: Message) -> dict[str, Any]:
    tools = answer.made_under.get("tools")
    return {"tools": tools} if tools else {}


def _prompt(chats: Chats, answer: Message) -> list[dict[str, Any]]:
    """What the model was told before `answer`, calls and their results among it, thinking not."""
    system = answer.made_under.get("system")
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *map(_without_thinking, turns(chats.lineage(answer.id)[:-1]))]


def _turn(answer: Message) -> dict[str, Any]:
    calls = [call for call in answer.tool_calls if not call.get("error")]
    said = {"role": answer.role, "content": answer.prompt_text()}
    return {**said, "tool_calls": calls} if calls else said


def _without_thinking(turn: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in turn.items() if name != "reasoning_content"}
