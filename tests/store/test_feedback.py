"""Rows of feedback say what an answer was made under, whatever the chat says now."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edgelm.store.chat_files import export_chat, import_chat
from edgelm.store.chat_schema import SCHEMA
from edgelm.store.chats import Chats
from edgelm.store.database import Database, Schema
from edgelm.store.feedback import label_rows, preference_rows, training_rows

PIRATE, PLAIN = (
    {"role": "system", "content": "Talk like a pirate."},
    {"role": "system", "content": "Be brief."},
)
HI = {"role": "user", "content": "Hi"}


def asked(chats: Chats, system: str = PIRATE["content"]) -> tuple[int, int]:
    session = chats.create(settings={"system": system}).id
    return session, chats.add(session, None, "user", "Hi").id


def test_the_system_prompt_is_the_one_of_the_answer(tmp_path: Path) -> None:
    with Chats(tmp_path / "db") as chats:
        session, question = asked(chats)
        ahoy = chats.add(session, question, "assistant", "Ahoy").id
        chats.set_settings(session, {"system": PLAIN["content"]})
        hello = chats.add(session, question, "assistant", "Hello").id
        chats.rate(ahoy, 1)
        chats.rate(hello, 1)
        answers = [{"role": "assistant", "content": text} for text in ("Ahoy", "Hello")]
        assert training_rows(chats) == [
            {"messages": [PIRATE, HI, answers[0]]},
            {"messages": [PLAIN, HI, answers[1]]},
        ]
        assert [row["prompt"] for row in label_rows(chats)] == [[PIRATE, HI], [PLAIN, HI]]
        for copy in (chats.duplicate(session).id, chats.branch(ahoy).id):
            assert chats.path(copy)[0].role == "user"
        assert [message.made_under["system"] for message in chats.path(copy)[1:]] == [PIRATE["content"]]


def test_answers_under_different_system_prompts_are_no_pair(tmp_path: Path) -> None:
    with Chats(tmp_path / "db") as chats:
        session, question = asked(chats)
        chats.rate(chats.add(session, question, "assistant", "Ahoy").id, 1)
        chats.rate(chats.add(session, question, "assistant", "Arr").id, -1)
        chats.set_settings(session, {})
        chats.rate(chats.add(session, question, "assistant", "Hello").id, -1)
        (row,) = preference_rows(chats)
        assert (row["prompt"], row["rejected"][0]["content"]) == ([PIRATE, HI], "Arr")


def test_a_correction_is_made_under_what_it_corrects(tmp_path: Path) -> None:
    with Chats(tmp_path / "db") as chats:
        session, question = asked(chats)
        wrong = chats.add(session, question, "assistant", "Hello").id
        chats.set_settings(session, {"system": "Something else."})
        chats.correct(wrong, "Ahoy")
        (row,) = preference_rows(chats)
        assert row["prompt"] == [PIRATE, HI]


def test_tools_and_thinking_are_kept_and_tools_are_in_the_row(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    with Chats(tmp_path / "db") as chats:
        session, question = asked(chats, "")
        made = chats.add(session, question, "assistant", "x", made_under={"tools": tools, "thinking": False})
        assert chats.message(made.id).made_under == {"system": "", "thinking": False, "tools": tools}
        chats.rate(made.id, 1)
        assert training_rows(chats) == [
            {"messages": [HI, {"role": "assistant", "content": "x"}], "tools": tools}
        ]
        export_chat(chats, session, tmp_path / "a.json")
        again = import_chat(chats, tmp_path / "a.json")
        assert chats.path(again.id)[1].made_under["tools"] == tools


def test_older_answers_keep_what_the_chat_said_when_edgelm_was_updated(tmp_path: Path) -> None:
    old = Schema(SCHEMA.name, SCHEMA.migrations[:1])
    with Database(tmp_path / "db", old):
        pass
    rows = sqlite3.connect(tmp_path / "db")
    settings = '{"system": "Talk like a pirate."}'
    rows.execute(
        "INSERT INTO chat_sessions (id, title, settings, created, updated) VALUES (1, 'a', ?, 0, 0)",
        (settings,),
    )
    rows.execute(
        "INSERT INTO chat_messages (id, session_id, role, content, created) VALUES (1, 1, 'user', 'Hi', 0)"
    )
    rows.execute(
        "INSERT INTO chat_messages (session_id, parent_id, role, content, rating, created)"
        " VALUES (1, 1, 'assistant', 'Ahoy', 1, 0)"
    )
    rows.commit()
    rows.close()
    with Chats(tmp_path / "db") as chats:
        chats.set_settings(1, {"system": "Be brief."})
        assert training_rows(chats) == [{"messages": [PIRATE, HI, {"role": "assistant", "content": "Ahoy"}]}]


def test_calls_and_their_results_are_in_the_row(tmp_path: Path) -> None:
    call = {"id": "call00000", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    with Chats(tmp_path / "chats.db") as chats:
        session = chats.create().id
        at = chats.add(session, None, "user", "hi").id
        at = chats.add(session, at, "assistant", "", thinking="hm", tool_calls=[call]).id
        at = chats.add(session, at, "tool", "3").id
        chats.rate(chats.add(session, at, "assistant", "three").id, 1)
        (row,) = training_rows(chats)
    assert row["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "call00000", "name": "f"},
        {"role": "assistant", "content": "three"},
    ]
