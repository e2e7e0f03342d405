"""Chats as files and back; ratings as rows to train on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from saved_chats import talk

from edgelm.errors import FormatError, NotFoundError, OptionError, OutputError
from edgelm.store.chat_files import export_chat, import_chat
from edgelm.store.chat_schema import Attachment
from edgelm.store.chats import Chats
from edgelm.store.feedback import export_feedback, label_rows, preference_rows, training_rows


@pytest.fixture
def branched(chats: Chats) -> int:
    """A chat with two answers, a correction, an attachment and settings."""
    session = chats.create(model="tiny", settings={"system": "Be brief."}).id
    talk(chats, "q", "a", session_id=session)
    chats.rename(session, "A chat")
    chats.rate(2, -1)
    chats.correct(2, "better")
    chats.add(session, 3, "user", "more", attachments=[Attachment("f.txt", "text")])
    return session


def test_json_keeps_everything(chats: Chats, branched: int, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    export_chat(chats, branched, file)
    made = import_chat(chats, file)
    assert (made.title, made.model, made.settings) == ("A chat", "tiny", {"system": "Be brief."})
    before, after = chats.path(branched), chats.path(made.id)
    assert [m.content for m in after] == [m.content for m in before] == ["q", "better", "more"]
    assert after[2].attachments == (Attachment("f.txt", "text"),)
    original = chats.message(chats.siblings(after[1].id)[0])
    assert (original.content, original.rating, after[1].edited_from) == ("a", -1, original.id)


def test_deleted_branches_are_not_exported(chats: Chats, branched: int, tmp_path: Path) -> None:
    chats.delete_message(3)
    export_chat(chats, branched, tmp_path / "chat.json")
    said = json.loads((tmp_path / "chat.json").read_text())
    assert [message["content"] for message in said["messages"]] == ["q", "a"]


def test_markdown_is_readable_and_read_back(chats: Chats, branched: int, tmp_path: Path) -> None:
    file = tmp_path / "chat.md"
    export_chat(chats, branched, file)
    text = file.read_text()
    assert text.startswith("# A chat\n")
    assert "## System\n\nBe brief.\n" in text
    assert "## User\n\n> attached: f.txt\n" in text
    made = import_chat(chats, file)
    assert (made.title, made.settings) == ("A chat", {"system": "Be brief."})
    assert [m.role for m in chats.path(made.id)] == ["user", "assistant", "user"]


def test_a_saved_repl_chat_can_be_imported(chats: Chats, tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    file.write_text(json.dumps({"messages": [*turns, {"role": "assistant", "content": "a"}]}))
    made = import_chat(chats, file)
    assert (made.title, made.settings) == ("old", {"system": "s"})
    assert [m.content for m in chats.path(made.id)] == ["q", "a"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "{"), ("a.json", "[]"), ("a.json", '{"messages": [{"role": "x"}]}'), ("a.md", "nothing")],
)
def test_a_file_that_is_no_chat(name: str, text: str, chats: Chats, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError):
        import_chat(chats, tmp_path / name)
    assert chats.sessions() == []


def test_files_are_not_overwritten(chats: Chats, branched: int, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        export_chat(chats, branched, tmp_path / "a.md")
    with pytest.raises(OptionError, match=r"\.json or \.md"):
        export_chat(chats, branched, tmp_path / "a.txt")
    with pytest.raises(NotFoundError, match="no file"):
        import_chat(chats, tmp_path / "b.md")


def test_a_correction_teaches(chats: Chats, branched: int) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    better, worse = ({"role": "assistant", "content": text} for text in ("better", "a"))
    assert training_rows(chats) == [{"messages": [*prompt, better]}]
    assert preference_rows(chats) == [{"prompt": prompt, "chosen": [better], "rejected": [worse]}]
    assert label_rows(chats) == [{"prompt": prompt, "completion": [worse], "label": False}]


def test_good_against_bad_among_siblings(chats: Chats) -> None:
    session = talk(chats, "q", "bad")
    good = chats.add(session, 1, "assistant", "good")
    chats.rate(2, -1)
    chats.rate(good.id, 1)
    (row,) = preference_rows(chats)
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("good", "bad")
    chats.rate(2, 0)
    assert preference_rows(chats) == []
    chats.delete(session)
    assert training_rows(chats) == []


def test_rows_are_written_as_json_lines(chats: Chats, branched: int, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    assert export_feedback(chats, file, "preferences") == 1
    assert json.loads(file.read_text())["chosen"][0]["content"] == "better"
    chats.delete(branched)
    with pytest.raises(OptionError, match="no training rows yet"):
        export_feedback(chats, file, "training")
