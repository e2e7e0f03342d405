"""Names of files as people type, quote, paste and drop them; what is attached, and what is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_driver import running
from textual import events
from textual.widgets import TextArea
from typed_names import escaped, fill

from edgelm_tui.screens.chat.prompt.completion import Completions
from edgelm_tui.screens.chat.prompt.waiting import WaitingChip


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
async def test_a_paste_has_lines_whatever_the_terminal_sends(end: str) -> None:
    lines = [f"line {n}" for n in range(30)]
    async with running() as it:
        it.prompt.focus()
        it.app.post_message(events.Paste(end.join(lines)))
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "attached")
        assert "paste 1 · 30 lines" in it.screen_text
        it.app.post_message(events.Paste(end.join(["a", "b", "c"])))
        await it.until(lambda: it.prompt.text == "a\nb\nc", "pasted")
        await it.press("enter")
        await it.idle()
        assert it.views[0].message.attachments[0].text == "\n".join(lines)
        assert it.views[0].message.content == "a\nb\nc"
        await it.focus(0)
        await it.press("e")
        it.app.post_message(events.Paste(end.join(["x", "y"])))
        await it.until(lambda: it.app.screen.query_one(TextArea).text == "a\nb\ncx\ny", "pasted")


async def test_twelve_lines_stay_text_and_thirteen_do_not() -> None:
    async with running() as it:
        it.prompt.focus()
        it.app.post_message(events.Paste("\r".join("x" * 12)))
        await it.until(lambda: it.prompt.text.count("x") == 12, "pasted")
        it.app.post_message(events.Paste("\r".join("y" * 13)))
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "attached")


async def test_a_dropped_file_is_attached(shelf: Path) -> None:
    async with running() as it:
        it.prompt.focus()
        it.app.post_message(events.Paste(escaped(str(shelf / "my notes.txt")) + " "))
        await it.until(lambda: it.prompt.text == f'@"{shelf}/my notes.txt" ', "mentioned")
        await it.write("what is it, beside")
        it.app.post_message(events.Paste(escaped(str(shelf / "plain.txt"))))
        await it.until(
            lambda: it.prompt.text.endswith(f"beside @{shelf}/plain.txt "), "apart from the word before"
        )
        await it.press("enter")
        await it.idle()
        assert [one.text for one in it.views[0].message.attachments] == ["in my notes.txt", "in plain.txt"]
        await it.write("/attach ")
        it.app.post_message(events.Paste(escaped(str(shelf / "it's.txt"))))
        await it.until(lambda: "s.txt" in it.prompt.text, "pasted")
        await it.press("enter")
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "attached")


async def test_the_completion_of_a_name_with_spaces_is_attached(shelf: Path) -> None:
    async with running() as it:
        await it.write("read @my")
        completions = it.chat.query_one(Completions)
        assert completions.is_open
        await it.press("tab")
        assert it.prompt.text == 'read @"my notes.txt" '
        await it.write('and @"./a fol')
        assert completions.is_open
        await it.press("tab")
        assert it.prompt.text.endswith('and @"./a folder/')
        await it.write("deep")
        await it.press("tab")
        assert it.prompt.text.endswith('and @"./a folder/deep one.txt" ')
        await it.press("enter")
        await it.idle()
        assert [one.text for one in it.views[0].message.attachments] == ["in my notes.txt", "deep"]


async def test_a_missing_file_keeps_the_prompt_until_enter_is_pressed_again(shelf: Path) -> None:
    async with running() as it:
        await it.send("read @missing.txt")
        await it.until(lambda: "there is no file missing.txt" in it.toasts, "said")
        assert it.said == []
        assert it.prompt.text == "read @missing.txt"
        await it.press("enter")
        await it.idle()
        assert it.said[0] == "read @missing.txt"


async def test_chats_are_written_and_read_under_names_with_spaces(shelf: Path) -> None:
    async with running() as it:
        await it.ask("one")
        for said, name in (
            ('"my chat.json"', "my chat.json"),
            ("my\\ other.md", "my other.md"),
            ("third one.md", "third one.md"),
        ):
            await it.send(f"/export {said}")
            await it.until(lambda: (shelf / name).is_file(), "written")  # noqa: B023
            await it.send(f"/import {said}")
            await it.until(lambda: it.said == ["one", "You said: one"], "read")
        before = (shelf / "third one.md").read_text()
        await it.send("/export third one.md")
        await it.until(lambda: "already exists" in it.toasts, "refused")
        assert (shelf / "third one.md").read_text() == before
