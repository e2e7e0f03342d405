"""Saved chats: sessions, folders, search, undo, queue; two processes; a process that is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from saved_chats import talk
from waiting import PATIENCE_S

from edgelm.errors import NotFoundError
from edgelm.store.chat_schema import Attachment
from edgelm.store.chats import UNTITLED, Chats


def titles(chats: Chats, query: str = "") -> list[str]:
    return [session.title for session in chats.sessions(query)]


def test_a_chat_is_there_next_time(file: Path) -> None:
    with Chats(file) as chats:
        talk(chats, "hello", "hi")
        chats.rename(1, "Greeting")
        chats.set_settings(1, {"system": "Be brief.", "temperature": 0.5})
        chats.set_draft(1, "half a")
    with Chats(file) as chats:
        session = chats.session(1)
        assert (session.title, session.model, session.draft) == ("Greeting", "tiny", "half a")
        assert session.settings == {"system": "Be brief.", "temperature": 0.5}
        assert [message.content for message in chats.path(1)] == ["hello", "hi"]


def test_the_newest_written_to_is_first(chats: Chats) -> None:
    first, second = chats.create(title="one").id, chats.create(title="two").id
    assert titles(chats) == ["two", "one"]
    chats.add(first, None, "user", "again")
    assert titles(chats) == ["one", "two"]
    assert chats.latest() == chats.session(first)
    assert second != first


def test_a_chat_is_named_after_its_first_prompt_once(chats: Chats) -> None:
    session = chats.create()
    chats.name_after(session.id, "Why  is\nthe sky blue? " + "x" * 100)
    named = chats.session(session.id).title
    assert named.startswith("Why is the sky blue? xxx")
    assert len(named) == 60
    chats.name_after(session.id, "Another")
    assert chats.session(session.id).title == named
    chats.rename(session.id, "  ")
    assert chats.session(session.id).title == UNTITLED


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sky", ["a"]),
        ("SKY blu", ["a"]),
        ("ecole", ["b"]),
        ("天空", ["c"]),
        ("100%", ["d"]),
        ('"quoted" -x*(', []),
        ("*", []),
        ("nowhere", []),
        ("", ["d", "c", "b", "a"]),
    ],
)
def test_search(query: str, found: list[str], chats: Chats) -> None:
    for title, text in (("a", "the sky is blue"), ("b", "une École"), ("c", "为什么天空是蓝色"), ("d", "x")):
        session = talk(chats, text)
        chats.rename(session, title)
    chats.rename(4, "100% d")
    assert [title[-1] for title in titles(chats, query)] == found


def test_search_follows_what_is_written_and_deleted(chats: Chats) -> None:
    session = talk(chats, "hello")
    answer = chats.add(session, 1, "assistant", "", state="writing")
    chats.write(answer.id, "an elephant")
    assert titles(chats, "elephant") == [UNTITLED]
    assert "\x02elephant\x03" in chats.sessions("eleph")[0].snippet
    chats.write(answer.id, "a mouse")
    assert titles(chats, "elephant") == []
    chats.delete_message(answer.id)
    assert titles(chats, "mouse") == []


def test_delete_and_undo(chats: Chats) -> None:
    session = talk(chats, "hello")
    chats.delete(session)
    assert titles(chats) == titles(chats, "hello") == []
    assert [gone.id for gone in chats.sessions(deleted=True)] == [session]
    assert chats.purge() == 0
    chats.restore(session)
    assert titles(chats, "hello") == [UNTITLED]
    chats.delete(session)
    time.sleep(0.01)
    assert chats.purge(older_than_s=0) == 1
    with pytest.raises(NotFoundError, match="no chat 1"):
        chats.session(session)
    assert chats.path(session) == []


@pytest.mark.parametrize("call", ["rename", "delete", "restore", "set_draft", "duplicate", "move"])
def test_a_chat_that_is_gone(call: str, chats: Chats) -> None:
    arguments = ("x",) if call in ("rename", "set_draft", "move") else ()
    with pytest.raises(NotFoundError, match="no chat 9"):
        getattr(chats, call)(9, *arguments)


def test_duplicate_copies_the_tree(chats: Chats) -> None:
    session = talk(chats, "q", "a")
    other = chats.add(session, 1, "assistant", "b", attachments=[Attachment("f", "text")])
    chats.add(session, other.id, "user", "more")
    chats.show(2)
    copy = chats.duplicate(session)
    assert copy.title == f"{UNTITLED} (copy)"
    assert [message.content for message in chats.path(copy.id)] == ["q", "a"]
    answers = chats.siblings(chats.path(copy.id)[1].id)
    chats.show(answers[1])
    path = chats.path(copy.id)
    assert [message.content for message in path] == ["q", "b", "more"]
    assert path[1].attachments == (Attachment("f", "text"),)
    assert [message.content for message in chats.path(session)] == ["q", "a"]


def test_a_branch_is_a_chat_that_begins_the_same(chats: Chats) -> None:
    session = talk(chats, "q", "a", "more")
    chats.set_settings(session, {"system": "s"})
    made = chats.branch(2)
    assert [message.content for message in chats.path(made.id)] == ["q", "a"]
    assert chats.session(made.id).settings == {"system": "s"}
    assert len(chats.path(session)) == 3


def test_folders(chats: Chats) -> None:
    session = talk(chats, "q")
    chats.move(session, "Work")
    assert chats.session(session).folder == "Work"
    assert chats.folders() == ["Work"]
    chats.move(session, None)
    assert (chats.session(session).folder, chats.folders()) == (None, [])


def test_queued_prompts_wait_in_order(chats: Chats) -> None:
    session = chats.create().id
    chats.queue(session, "one", [Attachment("f", "text")])
    second = chats.queue(session, "two")
    assert [(item.text, len(item.attachments)) for item in chats.queued(session)] == [("one", 1), ("two", 0)]
    assert chats.unqueue(second)
    assert not chats.unqueue(second)
    assert [item.text for item in chats.queued(session)] == ["one"]


def test_another_process_is_noticed(file: Path, chats: Chats) -> None:
    before = chats.version()
    talk(chats, "mine")
    assert chats.version() == before
    with Chats(file) as other:
        talk(other, "theirs")
    assert chats.version() != before


WRITER = """
import sys
from pathlib import Path
from edgelm.store.chats import Chats
with Chats(Path(sys.argv[1]), timeout_s=60) as chats:
    last = 1
    for n in range(40):
        answer = chats.add(1, last, "assistant", "", state="writing")
        chats.write(answer.id, f"{sys.argv[2]} {n} word")
        chats.finish(answer.id, "complete")
        last = answer.id
"""


@pytest.mark.fault
def test_two_processes_in_one_chat_become_branches(file: Path, chats: Chats) -> None:
    talk(chats, "hello")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(file), name]) for name in "ab"]
    assert [writer.wait(timeout=PATIENCE_S) for writer in writers] == [0, 0]
    branches = chats.siblings(2)
    assert len(branches) == 2
    for branch in branches:
        chats.show(branch)
        said = [message.content for message in chats.path(1)[1:]]
        assert said == [f"{said[0][0]} {n} word" for n in range(40)]
    assert chats._database.rows("PRAGMA integrity_check")[0][0] == "ok"
    assert len(chats.sessions("word")) == 1


DYING = """
import os, signal, sys
from pathlib import Path
from edgelm.store.chats import Chats
chats = Chats(Path(sys.argv[1]))
session = chats.create().id
question = chats.add(session, None, "user", "hello")
answer = chats.add(session, question.id, "assistant", "", state="writing")
chats.write(answer.id, "as far as")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault
def test_a_killed_process_loses_nothing_that_was_written(file: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DYING, str(file)], check=False, timeout=PATIENCE_S)
    assert died.returncode == -9
    with Chats(file) as chats:
        question, answer = chats.path(1)
        assert question.content == "hello"
        assert (answer.content, answer.state, answer.is_cut) == ("as far as", "stopped", True)


def test_an_answer_under_way_elsewhere_is_left_alone(file: Path, chats: Chats) -> None:
    session = talk(chats, "hello")
    chats.add(session, 1, "assistant", "so", state="writing")
    with Chats(file) as other:
        assert other.path(session)[-1].state == "writing"
