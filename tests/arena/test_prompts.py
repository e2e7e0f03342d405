"""Prompts of shipped sets, of files, and of saved chats."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelm.arena.prompts.prompts import read_prompts
from edgelm.arena.prompts.shipped import SETS, shipped
from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.store.chats import Chats


def test_shipped_sets_have_25_prompts_each_and_none_twice() -> None:
    everything = [text for name in SETS for text in shipped(name)]
    assert [len(shipped(name)) for name in SETS] == [25] * 4
    assert len(set(everything)) == 100
    assert all(text == text.strip() and text for text in everything)
    assert len(read_prompts("code")) == 25


def test_files_of_lines_and_of_json_are_read(tmp_path: Path) -> None:
    lines = tmp_path / "a.txt"
    lines.write_text("One?\n\nTwo?\nOne?\n")
    assert [m[0]["content"] for m in read_prompts(lines).values()] == ["One?", "Two?"]
    rows = tmp_path / "a.jsonl"
    rows.write_text(
        '{"prompt": "One?"}\n"Two?"\n'
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    assert [m[-1]["content"] for m in read_prompts(str(rows)).values()] == ["One?", "Two?", "a"]
    rows.write_text('{"text": "One?"}\n')
    with pytest.raises(FormatError, match="row 1 has text, expected one of prompt and messages"):
        read_prompts(rows)
    rows.write_text("{\n")
    with pytest.raises(FormatError, match="no JSON"):
        read_prompts(rows)
    lines.write_text("\n")
    with pytest.raises(OptionError, match="no prompts"):
        read_prompts(lines)
    with pytest.raises(NotFoundError, match="no file wrting"):
        read_prompts("wrting")


def test_own_chats_are_prompts_with_what_went_before(home: Path) -> None:
    with pytest.raises(NotFoundError, match="no chat"):
        read_prompts("chats")
    with Chats() as chats:
        chat = chats.create(settings={"system": "Be kind."})
        first = chats.add(chat.id, None, "user", "Hi")
        answer = chats.add(chat.id, first.id, "assistant", "Hello")
        chats.add(chat.id, answer.id, "user", "Why?")
    found = sorted(read_prompts("chats").values(), key=len)
    assert [[m["role"] for m in each] for each in found] == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
    ]
