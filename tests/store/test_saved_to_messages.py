"""What the model is told of a saved chat: what is shown of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from edgelm.store.chat_schema import Attachment, State
from edgelm.store.chats import Chats
from edgelm.store.saved_to_messages import left_out, turns


@pytest.fixture
def chats(tmp_path: Path) -> Chats:
    return Chats(tmp_path / "chats.db")


def talk(chats: Chats, *said: tuple[str, str, State]) -> int:
    """Prompts with what was answered, and how that ended."""
    session = chats.create().id
    at = None
    for prompt, answer, state in said:
        asked = chats.add(session, at, "user", prompt)
        made = chats.add(session, asked.id, "assistant", "", state="writing")
        chats.write(made.id, answer)
        chats.finish(made.id, state)
        at = made.id
    return session


def test_a_prompt_stopped_before_its_answer_is_said_with_the_next(chats: Chats) -> None:
    session = talk(
        chats, ("a", "A", "complete"), ("b", "", "stopped"), ("c", "", "stopped"), ("d", "D", "length")
    )
    path = chats.path(session)
    assert turns(path) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "b\n\nc\n\nd"},
        {"role": "assistant", "content": "D"},
    ]
    assert left_out(path) == set()
    assert turns(path[:-2])[-1] == {"role": "user", "content": "b\n\nc"}


def test_a_prompt_whose_answer_failed_is_left_out_and_named(chats: Chats) -> None:
    session = talk(
        chats,
        ("a", "", "stopped"),
        ("too long", "", "failed"),
        ("b", "half", "failed"),
        ("c", "C", "complete"),
    )
    path = chats.path(session)
    assert [turn["content"] for turn in turns(path)] == ["a\n\nb", "half", "c", "C"]
    assert {message.content for message in path if message.id in left_out(path)} == {"too long"}


def test_roles_are_in_turn_whatever_was_stopped(chats: Chats) -> None:
    states: list[State] = ["complete", "stopped", "failed", "length"]
    said = [
        (f"p{n}", text, state)
        for n, (state, text) in enumerate((s, t) for s in states * 2 for t in ("", "x"))
    ]
    roles = [turn["role"] for turn in turns(chats.path(talk(chats, *said)))]
    assert all(one != other for one, other in pairwise(roles))


def test_attachments_stay_with_a_stopped_prompt(chats: Chats) -> None:
    session = chats.create().id
    asked = chats.add(session, None, "user", "", attachments=[Attachment("a.txt", "text")])
    made = chats.add(session, asked.id, "assistant", "", state="stopped")
    chats.add(session, made.id, "user", "what is it?")
    assert turns(chats.path(session)) == [
        {"role": "user", "content": "<file name='a.txt'>\ntext\n</file>\n\nwhat is it?"}
    ]


def test_results_of_calls_name_their_call_and_survive_the_store(chats: Chats) -> None:
    session = chats.create().id
    asked = chats.add(session, None, "user", "add")
    functions = [{"name": name, "arguments": {"a": 1}} for name in ("add", "sub")]
    calls = [
        {"id": f"call0000{at}", "type": "function", "function": each} for at, each in enumerate(functions)
    ]
    called = chats.add(session, asked.id, "assistant", "", tool_calls=calls)
    first = chats.add(session, called.id, "tool", "3")
    second = chats.add(session, first.id, "tool", "4")
    chats.add(session, second.id, "assistant", "3 and 4")
    said = turns(chats.path(session))
    assert [(turn.get("tool_call_id"), turn.get("name")) for turn in said] == [
        (None, None), (None, None), ("call00000", "add"), ("call00001", "sub"), (None, None),
    ]  # fmt: skip
    assert said[1]["tool_calls"] == calls


def test_imported_calls_without_ids_get_ones_that_every_template_takes(chats: Chats) -> None:
    session = chats.create().id
    asked = chats.add(session, None, "user", "add")
    called = chats.add(
        session, asked.id, "assistant", "", tool_calls=[{"function": {"name": "f", "arguments": {}}}]
    )
    chats.add(session, called.id, "tool", "3")
    _, answer, result = turns(chats.path(session))
    (call,) = answer["tool_calls"]
    assert result["tool_call_id"] == call["id"]
    assert len(call["id"]) == 9
    assert call["id"].isalnum()
