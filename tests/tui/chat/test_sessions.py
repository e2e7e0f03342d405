"""The list of chats: open, search, rename, folder, duplicate, delete, export, import; other processes."""

from __future__ import annotations

import json
from pathlib import Path

from app_driver import Driver, running
from textual.widgets import Input

from edgelm import paths
from edgelm.store.chats import Chats
from edgelm_tui.screens.chat.sidebar import ChatList, Sidebar, grouped


def listed(it: Driver) -> list[str]:
    options = it.chat.query_one(ChatList).options
    return [str(option.prompt).strip("● ") for option in options if option.id]


async def two_chats(it: Driver) -> None:
    await it.ask("about cats")
    await it.press("ctrl+n")
    await it.ask("about dogs")


async def answer_line(it: Driver, text: str) -> None:
    it.app.screen.query_one(Input).value = text
    await it.press("enter")


async def test_chats_are_listed_and_opened() -> None:
    async with running() as it:
        await two_chats(it)
        assert listed(it) == ["about dogs", "about cats"]
        assert "Today" in it.screen_text
        await it.press("ctrl+s")
        await it.press("down", "enter")
        await it.until(lambda: it.said[:1] == ["about cats"], "opened")
        assert it.app.focused is it.prompt


async def test_a_reopened_app_lists_its_chats_at_once() -> None:
    with Chats(paths.database()) as chats:
        for title in ("about cats", "about cats (branch)", "a title " * 20):
            chats.create(title=title)
    async with running() as it:
        await it.until(lambda: len(listed(it)) == 3, "listed")
        assert "branch: about cats" in it.screen_text
        assert "…" in next(line for line in it.screen_text.splitlines() if "a title a title" in line)
        await it.press("ctrl+b")
        await it.pilot.resize_terminal(80, 24)
        await it.press("ctrl+b")
        await it.until(lambda: "a title " * 8 in it.screen_text, "as wide as there is room")


async def test_a_chat_keeps_its_draft_when_another_is_opened() -> None:
    async with running() as it:
        await it.ask("about cats")
        await it.write("half")
        await it.press("ctrl+n")
        assert it.prompt.text == ""
        await it.chat.open_chat.open(1)
        assert it.prompt.text == "half"


async def test_search_finds_words_of_messages() -> None:
    async with running() as it:
        await two_chats(it)
        await it.press("ctrl+f")
        await it.press(*"cat")
        await it.until(lambda: len(listed(it)) == 1, "found")
        assert "about cats" in it.screen_text
        await it.press("enter", "enter")
        await it.until(lambda: it.said[:1] == ["about cats"], "opened")
        await it.send("/search nowhere")
        await it.until(lambda: "nothing found" in it.screen_text, "said so")
        await it.press("escape")
        await it.until(lambda: len(listed(it)) == 2, "all again")


async def test_rename_folder_duplicate_delete_undo_by_key() -> None:
    async with running() as it:
        await two_chats(it)
        await it.press("ctrl+s")
        await it.press("r")
        await answer_line(it, "Dogs")
        assert listed(it) == ["Dogs", "about cats"]
        await it.press("f")
        await answer_line(it, "Pets")
        assert "▪ Pets" in it.screen_text
        it.chat.query_one(ChatList).focus()
        await it.press("d")
        await it.until(lambda: "copy: Dogs" in listed(it), "copied")
        await it.press("ctrl+s")
        await it.press("x", "x")
        assert "copy: Dogs" not in listed(it)
        assert it.said == []
        await it.press("u")
        await it.until(lambda: "copy: Dogs" in listed(it), "back")


async def test_the_same_by_command(tmp_path: Path) -> None:
    async with running() as it:
        await it.ask("about cats")
        await it.send("/rename Cats")
        await it.send("/folder Pets")
        assert it.app.services.chats.session(1).folder == "Pets"
        assert it.app.services.chats.session(1).title == "Cats"
        await it.send("/delete")
        assert it.app.services.chats.sessions() == []
        await it.send("/undo")
        await it.until(lambda: it.said[:1] == ["about cats"], "back")


async def test_export_and_import(tmp_path: Path) -> None:
    async with running() as it:
        await it.ask("about cats")
        await it.send(f"/export {tmp_path / 'a.json'}")
        await it.until(lambda: (tmp_path / "a.json").exists(), "written")
        await it.send(f"/export {tmp_path / 'a.txt'}")
        await it.until(lambda: "expected a name in .json or .md" in it.toasts, "said")
        await it.send(f"/import {tmp_path / 'a.json'}")
        await it.until(lambda: it.chat.open_chat.session_id == 2, "opened")
        assert it.said == ["about cats", "You said: about cats"]
        it.chat.query_one(ChatList).focus()
        await it.press("e")
        assert it.app.screen.query_one(Input).value == "about-cats.md"
        await answer_line(it, str(tmp_path / "b.md"))
        assert "## User\n\nabout cats" in (tmp_path / "b.md").read_text()


async def test_ratings_become_rows(tmp_path: Path) -> None:
    async with running() as it:
        await it.ask("one")
        file = tmp_path / "rows.jsonl"
        await it.send(f"/feedback {file} training")
        await it.until(lambda: "no training rows yet" in it.toasts, "said")
        await it.focus(1)
        await it.press("plus")
        await it.send(f"/feedback {file} training")
        await it.until(lambda: "1 training row written" in it.toasts, "said")
        assert json.loads(file.read_text())["messages"][1]["content"] == "You said: one"


async def test_a_chat_of_another_process_appears() -> None:
    async with running() as it:
        await it.ask("mine")
        with Chats(paths.database()) as other:
            other.create(title="theirs")
            path = other.path(1)
            other.add(1, path[-1].id, "user", "from the other side")
        await it.until(lambda: "theirs" in listed(it), "listed")
        await it.until(lambda: it.said[-1] == "from the other side", "shown")


async def test_a_command_that_needs_a_saved_chat_says_so() -> None:
    async with running() as it:
        await it.send("/rename x")
        await it.until(lambda: "this chat is not saved yet" in it.toasts, "said")


async def test_the_sidebar_is_hidden_where_there_is_no_room() -> None:
    async with running(size=(80, 24)) as it:
        await it.ask("about cats")
        sidebar = it.chat.query_one(Sidebar)
        assert not sidebar.display or not sidebar.has_class("open")
        await it.press("ctrl+b")
        assert "about cats" in it.screen_text
        await it.press("escape")
        assert not sidebar.has_class("open")
        await it.press("ctrl+s")
        await it.press("enter")
        await it.until(lambda: not sidebar.has_class("open"), "closed after the choice")


async def test_groups() -> None:
    from edgelm.store.chat_schema import ChatHead

    def made(number: int, updated: float, folder: str | None = None) -> ChatHead:
        return ChatHead(number, str(number), folder, None, {}, "", updated, updated)

    now, day = 1_700_000_000.0, 86400.0
    rows = grouped(
        [
            made(1, now),
            made(2, now - day),
            made(3, now - 3 * day),
            made(4, now - 300 * day),
            made(5, now, "W"),
        ],
        now,
    )
    assert [title for title, session in rows if session is None] == [
        "▪ W", "Today", "Yesterday", "This week", "January 2023",
    ]  # fmt: skip
