"""Names of files as people type, quote, paste and drop them; what is attached, and what is refused with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from app_driver import running
from textual import events
from textual.widgets import TextArea

from edgelm.conversation.attachments import files_in, files_named
from edgelm.conversation.feedback import write_feedback
from edgelm.conversation.typed_paths import dropped_files, path_of, quoted
from edgelm.errors import OptionError, OutputError
from edgelm.store.chats import Chats
from edgelm.store.messages import MessageTree
from edgelm_tui.screens.chat.prompt.completion import Completions
from edgelm_tui.screens.chat.prompt.waiting import WaitingChip

NAMES = [
    "plain.txt", "my notes.txt", "it's.txt", 'say "hi".txt', "back\\slash.txt", "brackets [x] (1).txt",
    "Ünïcode  two.txt", "tail, end.txt",
]  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in NAMES:
        (tmp_path / name).write_text(f"in {name}")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "deep one.txt").write_text("deep")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def escaped(name: str) -> str:
    """As Terminal and iTerm write a file that is dropped on them."""
    return "".join(
        letter if letter.isalnum() or letter in "/._-" or ord(letter) > 127 else f"\\{letter}"
        for letter in name
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_way_of_writing_a_name_is_the_file(shelf: Path, name: str) -> None:
    file = shelf / name
    for said in (
        quoted(str(file)),
        escaped(str(file)),
        str(file),
        file.as_uri(),
        quoted(name),
        escaped(name),
        name,
    ):
        assert path_of(said).resolve() == file, said
        assert [one.text for one in files_named(said)] == [f"in {name}"], said
        found, wrong = files_in(f"what is @{said}")
        assert ([one.text for one in found], wrong) == ([f"in {name}"], []), said
    for said in (quoted(str(file)), escaped(str(file)), file.as_uri()):
        found, wrong = files_in(f"see @{said}, and (@plain.txt). Not me@plain.txt")
        assert {one.text for one in found} == {f"in {name}", "in plain.txt"}, said
        assert wrong == []


def test_names_that_are_not_there_yet_are_read_as_a_shell_does(shelf: Path) -> None:
    assert path_of("new one.md") == Path("new one.md")
    assert path_of("'new one.md'") == Path("new one.md")
    assert path_of("new\\ one.md") == Path("new one.md")
    assert path_of("~/x.md") == Path.home() / "x.md"
    assert path_of("~nobody-of-this-name/x").name == "x"
    assert path_of("Bob's.md") == Path("Bob's.md")


def test_several_files_of_one_attach(shelf: Path) -> None:
    assert [one.text for one in files_named("plain.txt 'my notes.txt'")] == [
        "in plain.txt",
        "in my notes.txt",
    ]
    two = f"{escaped(str(shelf / 'my notes.txt'))} {shelf / 'plain.txt'} "
    assert dropped_files(two) == [
        shelf / "my notes.txt",
        shelf / "plain.txt",
    ]
    for text in ("plain.txt", f"{shelf}/nowhere.txt", f"look at {shelf}/plain.txt", str(shelf), "/", "", "~"):
        assert dropped_files(text) == [], text


def test_what_cannot_be_attached_is_said(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shelf / "zero.txt").write_bytes(b"text\0more")
    (shelf / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (shelf / "utf16.txt").write_bytes("Gruesse".encode("utf-16"))
    (shelf / "large.txt").write_text("x" * 1_000_001)
    (shelf / "broken.txt").symlink_to("nowhere-at-all")
    (shelf / "shut.txt").write_text("x")
    os.mkfifo(shelf / "pipe.txt")
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "shut.txt":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    for name, reason in {
        "zero.txt": "is binary",
        "latin.txt": "is no UTF-8 text: byte 0xfc at offset 2",
        "utf16.txt": "is binary",
        "large.txt": "has 1 MB",
        "shut.txt": "Permission denied",
        "pipe.txt": "is no file that can be attached",
        "missing.txt": "there is no file",
        "broken.txt": "there is no file",
        "'a folder'": "is a folder",
        "a" * 300 + ".txt": "there is no file",
        "sub/missing": "there is no file",
        "~/missing-too": "there is no file",
    }.items():
        found, wrong = files_in(f"read @{name} please")
        assert found == []
        assert len(wrong) == 1, name
        assert reason in wrong[0], name
        with pytest.raises(OptionError):
            files_named(name)


def test_words_with_an_at_that_are_no_files(shelf: Path) -> None:
    for text in (
        "@ann",
        "ask @ann, or ann@example.com",
        "@property\ndef x()",
        '@app.route("/x")',
        "a @ b",
        "@",
    ):
        assert files_in(text) == ([], []), text


def test_lines_end_alike_everywhere(shelf: Path) -> None:
    (shelf / "dos.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree")
    assert files_named("dos.txt")[0].text == "one\ntwo\nthree"
    with Chats() as chats:
        session = chats.create().id
        tree: MessageTree = chats
        message = tree.add(session, None, "user", "a\r\nb\rc", attachments=files_named("dos.txt"))
        assert message.content == "a\nb\nc"
        assert message.attachments[0].text == "one\ntwo\nthree"


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
        assert "there is no file missing.txt" in it.toasts
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


def test_feedback_refuses_a_file_that_is_there(shelf: Path) -> None:
    with Chats() as chats:
        session = chats.create().id
        asked = chats.add(session, None, "user", "one")
        chats.rate(chats.add(session, asked.id, "assistant", "two").id, 1)
        assert write_feedback(chats, "'my rows.jsonl' training") == "1 training row written to my rows.jsonl"
        before = (shelf / "my rows.jsonl").read_text()
        for said in ("'my rows.jsonl' training", "my\\ rows.jsonl labels", "plain.txt training"):
            with pytest.raises(OutputError, match="already exists"):
                write_feedback(chats, said)
        assert (shelf / "my rows.jsonl").read_text() == before
        assert (shelf / "plain.txt").read_text() == "in plain.txt"
        with pytest.raises(OptionError, match="no file is named"):
            write_feedback(chats, "training")
