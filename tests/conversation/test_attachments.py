"""Names of files as people type them, files that a prompt names with an @, and citations that mean no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typed_names import NAMES, escaped, fill

from edgelm.conversation.attachments import files_in, files_named
from edgelm.conversation.feedback import write_feedback
from edgelm.conversation.typed_paths import dropped_files, path_of, quoted
from edgelm.errors import OptionError, OutputError
from edgelm.store.chats import Chats


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
        message = chats.add(session, None, "user", "a\r\nb\rc", attachments=files_named("dos.txt"))
        assert message.content == "a\nb\nc"
        assert message.attachments[0].text == "one\ntwo\nthree"


@pytest.mark.parametrize(
    "text", ["as [@smith2020] shows", "[@smith.et.al, p. 3]", "[@doe.2020 ch. 2]", "![@x.y z](a)"]
)
def test_a_citation_is_text(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files_in(text) == ([], [])


def test_a_file_of_that_name_is_attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smith2020").write_text("a paper")
    files, problems = files_in("as [@smith2020] shows, see @doe.2020")
    assert [file.text for file in files] == ["a paper"]
    assert problems == ["there is no file doe.2020"]


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
