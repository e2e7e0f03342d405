"""Functions run only after asking; the form of the answer comes from files and flags."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_api import FakeApi

from edgelm.cli.chat.approval import Approval, describe_call
from edgelm.cli.main import main
from edgelm.cli.show.answer import TextAnswer, event_json
from edgelm.runtime.chat.tool_loop import ToolResult
from edgelm.runtime.events import Text
from edgelm.text.segments import ToolCall
from edgelm.text.tools.tool import as_tool

Pipe = Callable[[bytes], None]
Capture = pytest.CaptureFixture[str]


def shop(item: str) -> str:
    """Buy an item."""
    return item


def other() -> None:
    """Something else."""


def answering(*answers: str) -> Approval:
    script = iter(answers)

    def read(question: str) -> str:
        assert question == "run it? [y]es, [n]o, [a]lways: "
        answer = next(script, None)
        if answer is None:
            raise EOFError
        return answer

    return Approval(read)


@pytest.mark.parametrize(
    ("answers", "allowed"),
    [
        (["y"], True),
        (["YES "], True),
        (["n"], False),
        (["", "what?", "no"], False),
        ([], False),
        (["huh"], False),
    ],
)
def test_only_yes_is_yes(answers: list[str], allowed: bool, capsys: Capture) -> None:
    assert answering(*answers)(as_tool(shop), {"item": "tea"}) is allowed
    assert capsys.readouterr().err.startswith('shop(item="tea")\n')


def test_always_is_for_one_function(capsys: Capture) -> None:
    approve = answering("always", "n")
    assert approve(as_tool(shop), {"item": "tea"})
    assert approve(as_tool(shop), {"item": "milk"})
    assert not approve(as_tool(other), {})
    assert capsys.readouterr().err == 'shop(item="tea")\nshop(item="milk")\nother()\n'


def test_a_call_cannot_steer_the_terminal() -> None:
    shown = describe_call("shop", {"item": "\x1b[2Jtea\u009b", "k\x07": "\n"})
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)


TOOLS = '''
def shop(item: str) -> str:
    """Buy an item."""
    return item
'''


def test_tools_are_refused_where_nobody_can_be_asked(
    api: FakeApi, stdin: Pipe, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "tools.py").write_text("raise SystemExit('must not be run')")
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", "--tools", str(tmp_path / "tools.py")]) == 2
    assert "stdin is not a terminal" in capsys.readouterr().err
    assert not api.loads


def test_tools_reach_the_chat_and_ask_first(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert main(["chat", "tiny", "-p", "hi", "--tools", str(tmp_path / "tools.py"), "--no-think"]) == 0
    chat = api.models[0].chats[0]
    assert [tool.name for tool in chat.tools] == ["shop"]
    assert chat.enable_thinking is False
    assert isinstance(chat.asked[0]["approve"], Approval)
    assert capsys.readouterr().out == "You said: hi \n"


def test_tools_and_a_form_exclude_each_other(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert main(["chat", "tiny", "-p", "hi", "--tools", str(tmp_path / "tools.py"), "--regex", "a"]) == 2
    assert "leaves no room for calls" in capsys.readouterr().err
    assert not api.loads


def test_a_call_that_is_run_is_not_part_of_the_answer(capsys: Capture) -> None:
    events: list[Any] = [
        Text("{}", "tool_call"),
        ToolCall("shop", {}, "{}"),
        ToolResult("shop", "tea\x1b[2J"),
        Text("Bought."),
    ]
    TextAnswer(thinking=True, calls=False).show(events)
    captured = capsys.readouterr()
    assert captured.out == "Bought.\n"
    assert captured.err == "shop → tea␛[2J\n"
    assert event_json(events[2]) == {
        "event": "tool_result",
        "name": "shop",
        "text": "tea\x1b[2J",
        "is_error": False,
    }


def test_a_call_that_cannot_be_read_is_said(capsys: Capture) -> None:
    TextAnswer(thinking=True).show([Text("{", "tool_call"), ToolCall("", {}, "{", error="bad")])
    assert "the call cannot be read: bad" in capsys.readouterr().err


def test_the_form_of_the_answer_reaches_the_model(api: FakeApi, stdin: Pipe, tmp_path: Path) -> None:
    schema, grammar = tmp_path / "s.json", tmp_path / "g.lark"
    schema.write_text('\ufeff{"type": "null"}', encoding="utf-8")
    grammar.write_text('start: "yes"')
    forms = {"--schema": str(schema), "--regex": "a+", "--grammar": str(grammar)}
    for flag, value in forms.items():
        stdin(b"")
        assert main(["chat", "tiny", "-p", "x", flag, value]) == 0
    kinds = [model.chats[0].asked[0]["grammar"].kind for model in api.models]
    assert kinds == ["schema", "regex", "lark"]


@pytest.mark.parametrize(
    ("flag", "content", "code", "said"),
    [
        (
            "--schema",
            b'{"type": "object", "properties": {"a": {"not": {}}}}',
            1,
            "keyword 'not' at #/properties/a",
        ),
        ("--schema", b"{", 2, "file: the schema is not JSON"),
        ("--schema", b"\xff", 1, "is not UTF-8"),
        ("--schema", None, 1, "does not exist"),
        ("--grammar", b'start: "a" b', 2, "file: the grammar cannot be read"),
    ],
)
def test_a_form_that_cannot_be_enforced_is_refused_before_loading(
    flag: str,
    content: bytes | None,
    code: int,
    said: str,
    api: FakeApi,
    stdin: Pipe,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", flag, str(file)]) == code
    assert said in capsys.readouterr().err
    assert not api.loads


def test_two_forms_are_a_usage_error(api: FakeApi, stdin: Pipe) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", "--regex", "a", "--schema", "s.json"]) == 2
