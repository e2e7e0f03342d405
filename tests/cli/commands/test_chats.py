"""`edgelm chats`, and answers that are kept as chats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_api import FakeApi

from edgelm.cli.main import main
from edgelm.store.chats import Chats

Capture = pytest.CaptureFixture[str]
Pipe = Callable[[bytes], None]


@pytest.fixture
def kept(home: Path) -> list[int]:
    made = []
    with Chats() as chats:
        for title, said in (("Birds", "why do [birds] fly?"), ("Fish", "do fish sleep?")):
            session = chats.create(model="tiny", title=title)
            prompt = chats.add(session.id, None, "user", said)
            chats.add(session.id, prompt.id, "assistant", "Because.", model="tiny")
            made.append(session.id)
    return made


def said(capsys: Capture, *argv: str) -> str:
    assert main(["chats", *argv]) == 0
    return capsys.readouterr().out


def test_they_are_listed_searched_and_printed(kept: list[int], capsys: Capture) -> None:
    head, latest, first = said(capsys).splitlines()
    assert head == "id\ttitle\tmodel\tchanged"
    assert latest.startswith(f"{kept[1]}\tFish\ttiny\t")
    assert first.startswith(f"{kept[0]}\tBirds")
    assert len(said(capsys, "list", "--first", "1").splitlines()) == 2
    assert [found["title"] for found in json.loads(said(capsys, "search", "birds", "fly", "--json"))] == [
        "Birds"
    ]
    shown = said(capsys, "show", str(kept[0]))
    assert "## User\n\nwhy do [birds] fly?\n" in shown
    assert "## Assistant\n\nBecause.\n" in shown
    assert [turn["role"] for turn in json.loads(said(capsys, "show", "--json"))["messages"]] == [
        "user",
        "assistant",
    ]


def test_one_is_exported_and_never_over_a_file(kept: list[int], tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "out.md"
    assert said(capsys, "export", str(kept[0]), "-o", str(file)) == f"{file}\n"
    assert "birds" in file.read_text()
    assert main(["chats", "export", str(kept[1]), "-o", str(file)]) == 1
    assert "birds" in file.read_text()


def test_what_is_removed_comes_back(kept: list[int], capsys: Capture, stdin: Pipe) -> None:
    stdin(b"")
    assert main(["chats", "remove", str(kept[0])]) == 2
    assert "--yes" in capsys.readouterr().err
    said(capsys, "remove", str(kept[0]), "--yes")
    assert [found["id"] for found in json.loads(said(capsys, "--json"))] == [kept[1]]
    said(capsys, "restore", str(kept[0]))
    assert len(json.loads(said(capsys, "--json"))) == 2


@pytest.mark.parametrize(
    "words", [["show", "99"], ["show", "x"], ["remove", "99", "--yes"], ["export", "99"]]
)
def test_a_chat_that_is_none(kept: list[int], words: list[str], capsys: Capture) -> None:
    assert main(["chats", *words]) == 1
    assert "edgelm chats lists them" in capsys.readouterr().err


def test_an_answer_is_kept_as_a_chat_where_it_is_asked_for(
    api: FakeApi, stdin: Pipe, home: Path, capsys: Capture
) -> None:
    for flags in (["--log"], [], ["--log"]):
        stdin(b"")
        assert main(["chat", "tiny", "-p", "hello there", "--temperature", "0.5", *flags]) == 0
    assert capsys.readouterr().out == "You said: hello there \n" * 3
    found = json.loads(said(capsys, "--json"))
    assert [session["model"] for session in found] == ["tiny"] * 2
    turns = json.loads(said(capsys, "show", "--json"))["messages"]
    assert [turn["content"].strip() for turn in turns] == ["hello there", "You said: hello there"]


def test_hidden_files_are_no_personas(home: Path, capsys: Capture) -> None:
    """macOS puts `._name` beside a file on disks that have no resource forks."""
    assert main(["personas", "save", "editor", "--system", "Be brief."]) == 0
    (saved,) = home.rglob("editor.json")
    saved.with_name("._editor.json").write_bytes(b"\x00\x05\x16\x07")
    capsys.readouterr()
    assert main(["personas"]) == 0
    assert "._editor" not in capsys.readouterr().out


def test_a_persona_counts_less_than_flags(api: FakeApi, stdin: Pipe, home: Path, capsys: Capture) -> None:
    assert (
        main(["personas", "save", "editor", "--system", "@@Be brief.", "--temperature", "0", "--seed", "3"])
        == 0
    )
    assert main(["personas", "save", "editor", "--system", "x"]) == 1
    assert main(["personas", "save", "../x", "--system", "x"]) == 2
    assert main(["personas", "save", "none"]) == 2
    assert main(["personas", "save", "hot", "--temperature", "-1"]) == 2
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", "--persona", "editor", "--seed", "0"]) == 0
    chat = api.models[-1].chats[0]
    assert chat.system == "@Be brief."
    assert (chat.asked[0]["temperature"], chat.asked[0]["seed"]) == (0.0, 0)
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", "--persona", "editor", "--system", "", "--greedy"]) == 0
    chat = api.models[-1].chats[0]
    assert chat.system == ""
    assert "temperature" not in chat.asked[0]
    capsys.readouterr()
    assert main(["personas"]) == 0
    assert main(["personas", "show", "editor"]) == 0
    assert capsys.readouterr().out == "editor\nname\teditor\nsystem\t@Be brief.\ntemperature\t0.0\nseed\t3\n"
    assert main(["personas", "remove", "editor", "--yes"]) == 0
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", "--persona", "editor"]) == 1
    assert "there is no persona 'editor'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{", '{"system": 5}', '{"no_such": 1}'])
def test_a_persona_that_is_broken_is_named(
    text: str, api: FakeApi, stdin: Pipe, home: Path, capsys: Capture
) -> None:
    (home / "personas").mkdir(parents=True)
    (home / "personas" / "a.json").write_text(text)
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", "--persona", "a"]) == 1
    assert str(home / "personas" / "a.json") in capsys.readouterr().err
