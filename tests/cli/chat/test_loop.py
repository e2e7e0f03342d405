"""The chat loop: slash commands, Ctrl-C and Ctrl-D, editing, on real pseudo-terminals where it matters."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from talking import talk

from edgelm.cli.chat.command_list import COMMANDS
from edgelm.cli.chat.line_readers import Abandoned, editing_reader, plain_reader
from edgelm.cli.chat.loop import first_interrupt_only
from edgelm.cli.chat.transcript import save
from edgelm.cli.main import main
from edgelm.errors import FormatError, NotFoundError, OptionError, OutputError
from edgelm.store.chats import Chats

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]
Open = Callable[..., Any]


def test_turns_are_answered_with_their_cost(api: FakeApi, capsys: Capture) -> None:
    chat = talk(api, ["one", "", "  \n ", "two"])
    captured = capsys.readouterr()
    assert captured.out == "You said: one \nYou said: two \n"
    assert captured.err.count("3 tokens · 2 token/s · first after 0.20 s · 4 of 10 prompt tokens cached") == 2
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 2


def test_help_lists_every_command(api: FakeApi, capsys: Capture) -> None:
    talk(api, ["/help"])
    err = capsys.readouterr().err
    assert all(name in err for name in COMMANDS)
    assert "keys" in err


def test_system_prompt(api: FakeApi, capsys: Capture) -> None:
    chat = talk(api, ["/system", "/system Be brief.\nIn French.", "/system"])
    assert chat.system == "Be brief.\nIn French."
    assert capsys.readouterr().err.splitlines() == [
        "there is no system prompt",
        "the system prompt is set",
        "Be brief.",
        "In French.",
    ]


def test_clear_forgets(api: FakeApi) -> None:
    assert talk(api, ["one", "/clear"]).messages == []


@pytest.mark.parametrize("leave", ["/quit", "/exit", "/quit now"])
def test_quit(leave: str, api: FakeApi, capsys: Capture) -> None:
    talk(api, [leave, "one"])
    assert capsys.readouterr().out == ""


def test_an_unknown_command_is_not_sent(api: FakeApi, capsys: Capture) -> None:
    assert talk(api, ["/sytem hi", "/Messages"]).messages == []
    assert "error: no command /sytem, did you mean /system?" in capsys.readouterr().err


def test_a_slash_that_begins_no_word_is_text(api: FakeApi) -> None:
    said = [turn["content"] for turn in talk(api, ["/ x", "/", "/etc/hosts"]).messages]
    assert said[::2] == ["/ x", "/", "/etc/hosts"]


def test_two_slashes_send_one(api: FakeApi) -> None:
    assert talk(api, ["//etc/hosts"]).messages[0]["content"] == "/etc/hosts"


def test_an_error_ends_a_turn_and_not_the_chat(api: FakeApi, capsys: Capture) -> None:
    talk(api, ["too long", "bad \udcff text", FormatError("the line is not UTF-8 text"), "one"])
    captured = capsys.readouterr()
    assert "error: the prompt has 9 tokens" in captured.err
    assert "hint: say less" in captured.err
    assert captured.err.count("not UTF-8 text") == 2
    assert captured.out == "You said: one \n"


def test_ctrl_c_at_an_empty_prompt_says_how_to_leave(api: FakeApi, capsys: Capture) -> None:
    talk(api, [Abandoned(was_empty=True), Abandoned(was_empty=False)])
    assert capsys.readouterr().err == "Ctrl-D or /quit leaves\n"


def test_save_as_json_and_markdown(api: FakeApi, tmp_path: Path, capsys: Capture) -> None:
    talk(api, ["/save", "hi", f"/save {tmp_path / 'a b.json'}", f"/save {tmp_path / 'new' / 'c.md'}"])
    said = json.loads((tmp_path / "a b.json").read_text())
    assert said["model"] == "tiny"
    assert said["messages"][1] == {"role": "assistant", "content": "You said: hi "}
    assert "## User\n\nhi\n" in (tmp_path / "new" / "c.md").read_text()
    assert "there is nothing to save yet" in capsys.readouterr().err


def test_save_without_a_name_goes_to_the_saved_chats(api: FakeApi, home: Path) -> None:
    talk(api, ["hi", "/save"])
    assert len(list((home / "chats").glob("*.json"))) == 1


def test_save_never_overwrites_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        save(file, [], model="tiny")
    with pytest.raises(OptionError, match=r"expected a name in \.json or \.md"):
        save(tmp_path / "a.txt", [], model="tiny")
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def edit(keys: str) -> str:
    """What the editing prompt returns for `keys`."""
    with create_pipe_input() as pipe:
        pipe.send_text(keys)
        return editing_reader(tuple(COMMANDS), input=pipe, output=DummyOutput())()


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("hello\r", "hello"),
        ("a\x1b\rb\r", "a\nb"),
        ("a\nb\r", "a\nb"),
        ("\x1b[200~def f():\r    return 1\r\x1b[201~\r", "def f():\n    return 1\n"),
    ],
    ids=["enter", "alt-enter", "ctrl-j", "paste"],
)
def test_editing(keys: str, line: str) -> None:
    assert edit(keys) == line


def test_slash_commands_are_completed(terminal: Open) -> None:
    screen = terminal("chat", "tiny", NO_COLOR="1")
    screen.wait_for(">")
    screen.send("/sy")
    screen.wait_for("/system")
    screen.send("\t Be brief.\r")
    screen.wait_for("the system prompt is set")


def test_leaving_the_editing_prompt() -> None:
    with pytest.raises(EOFError):
        edit("\x04")
    with pytest.raises(Abandoned) as empty:
        edit("\x03")
    with pytest.raises(Abandoned) as typed:
        edit("half\x03")
    assert (empty.value.was_empty, typed.value.was_empty) == (True, False)


def test_history_is_kept_for_the_user_alone(home: Path) -> None:
    edit("remember me\r")
    assert edit("\x1b[A\r") == "remember me"
    assert stat.S_IMODE((home / "chats" / "history").stat().st_mode) == 0o600


def test_a_home_that_cannot_be_written_costs_only_the_history(home: Path, capsys: Capture) -> None:
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file")
    assert edit("hello\r") == "hello"
    assert "warning: prompts are not kept" in capsys.readouterr().err


def test_plain_lines_go_on_after_a_backslash(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(["one\\", "two"])
    monkeypatch.setattr("builtins.input", lambda: next(lines))
    assert plain_reader() == "one\ntwo"


@pytest.mark.parametrize("flags", [(), ("--plain",)], ids=["editing", "plain"])
def test_a_chat_on_a_terminal(flags: tuple[str, ...], terminal: Open) -> None:
    screen = terminal("chat", "tiny", *flags, FAKE_DELAY_S="0.2")
    screen.wait_for(">")
    screen.send("hello\r")
    screen.wait_for("cached", then=">")
    screen.send("one two three four five\r")
    screen.wait_for("You said:")
    screen.send("\x03")
    screen.wait_for("(stopped)", then=">")
    screen.send("\x03")
    screen.wait_for("Ctrl-D or /quit leaves", then=">")
    screen.send("\x04")
    assert screen.wait() == 0
    assert "Traceback" not in screen.output


def test_what_is_typed_during_an_answer_is_sent_after_it(terminal: Open) -> None:
    screen = terminal("chat", "tiny", FAKE_DELAY_S="0.2")
    screen.wait_for(">")
    screen.send("one two\r")
    screen.wait_for("You said:")
    screen.send("three\r")
    screen.wait_for("You said:", then="three")
    screen.wait_for("cached", then=">")
    screen.send("\x04")
    assert screen.wait() == 0


def test_a_second_ctrl_c_does_not_disturb_the_first() -> None:
    came: list[str] = []
    before = signal.getsignal(signal.SIGINT)

    def press_twice() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            came.append("the end")

    with pytest.raises(KeyboardInterrupt), first_interrupt_only():
        press_twice()
    assert came == ["the end"]
    assert signal.getsignal(signal.SIGINT) is before


def test_plain_shows_no_escape_sequence(terminal: Open) -> None:
    screen = terminal("chat", "tiny", "--plain")
    screen.wait_for(">")
    screen.send("think\r")
    screen.wait_for("cached")
    screen.send("/quit\r")
    assert screen.wait() == 0
    assert "\x1b" not in screen.output
    assert "[thinking]" in screen.output


def test_the_demo_is_offered_and_may_be_declined(terminal: Open) -> None:
    screen = terminal("chat", NO_COLOR="1")
    screen.wait_for("now? [Y/n] ")
    screen.send("n\r")
    assert screen.wait() == 1
    assert "hint: edgelm convert smollm2" in screen.output


def test_thinking_is_switched_and_shown(api: FakeApi, capsys: Capture) -> None:
    chat = talk(api, ["/think", "/think off", "think", "/think hide", "think", "/think maybe", "/think auto"])
    captured = capsys.readouterr()
    assert captured.out.count("hm") == 1
    said = [line for line in captured.err.splitlines() if line.startswith("thinking is")]
    assert said == [
        "thinking is auto and shown",
        "thinking is off and shown",
        "thinking is off and hidden",
        "thinking is auto and hidden",
    ]
    assert "/think is 'maybe', expected on, off, auto, show or hide" in captured.err
    assert chat.enable_thinking is None


def with_adapter(model: Any) -> Any:
    """A model with an adapter, and room for more."""
    model.adapters = {"style": 1.0}

    def change(name: str, weight: float) -> None:
        if name not in ("style", "other"):
            raise NotFoundError(f"there is no adapter {name!r}")
        model.adapters[name] = weight

    model.set_adapter = model.add_adapter = change
    return model


def test_adapters_are_weighted_between_two_answers(api: FakeApi, capsys: Capture) -> None:
    lines = ["/adapter", "/adapter style 0", "/adapter style x", "/adapter third 1", "/adapter other 0.5"]
    talk(api, [*lines, "/adapter style"], prepare=with_adapter)
    err = capsys.readouterr().err
    assert "style  1\n" in err
    assert "style  off\n  other  0.5\n" in err
    assert "the weight is 'x', expected a number" in err
    assert "no adapter 'third'" in err
    assert "no weight is given for 'style'" in err
    assert api.models[0].adapters == {"style": 0.0, "other": 0.5}


def test_an_adapter_of_another_directory_is_not_the_one_of_its_name(api: FakeApi, capsys: Capture) -> None:
    """Results of runs are all called step-…."""
    added: list[tuple[str, float]] = []

    def with_step(model: Any) -> Any:
        with_adapter(model)
        model.add_adapter = lambda *use: added.append(use)
        return model

    talk(api, ["/adapter style 0", "/adapter runs/b/adapters/style 0.5"], prepare=with_step)
    assert added == [("runs/b/adapters/style", 0.5)]
    assert api.models[0].adapters == {"style": 0.0}


def test_without_adapters_it_says_how_to_get_one(api: FakeApi, capsys: Capture) -> None:
    talk(api, ["/adapter"])
    assert "edgelm chat --adapter NAME, puts one on" in capsys.readouterr().err


def saved(home: Path) -> list[list[str]]:
    """The messages of every saved chat, the newest first."""
    with Chats(home / "edgelm.db") as chats:
        return [[message.content for message in chats.path(session.id)] for session in chats.sessions()]


def test_a_conversation_is_saved_and_continued(home: Path, terminal: Open) -> None:
    first = terminal("chat", "tiny", "--plain", "--system", "Be brief.")
    first.wait_for(">")
    first.send("hello\r")
    first.wait_for("cached", then=">")
    first.send("/clear\r")
    first.wait_for("forgotten", then=">")
    first.send("other\r")
    first.wait_for("cached", then=">")
    first.process.kill()
    assert saved(home) == [["other", "You said: other "], ["hello", "You said: hello "]]
    second = terminal("chat", "tiny", "--plain", "--continue", "1")
    second.wait_for("going on after 2 messages", then=">")
    second.send("/system\r")
    second.wait_for("Be brief.", then=">")
    second.send("more\r")
    second.wait_for("cached", then=">")
    second.send("/sessions\r")
    second.wait_for("1  hello", then="2  other")
    second.send("/quit\r")
    assert second.wait() == 0
    assert saved(home)[0] == ["hello", "You said: hello ", "more", "You said: more "]


def test_one_answer_can_be_added_to_the_latest_chat(
    api: FakeApi, home: Path, capsys: Capture, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"")
    assert main(["chat", "tiny", "--continue", "-p", "one"]) == 1
    assert "no chat is saved yet" in capsys.readouterr().err
    with Chats() as chats:
        chats.create(model="tiny")
    assert main(["chat", "tiny", "--continue", "-p", "one"]) == 0
    assert saved(home) == [["one", "You said: one "]]
    assert main(["chat", "tiny", "--continue", "nine", "-p", "x"]) == 1
    assert main(["chat", "tiny", "--continue", "9", "-p", "x"]) == 1
    assert main(["chat", "tiny", "-p", "x"]) == 0
    assert len(saved(home)) == 1


def test_a_chat_goes_on_when_it_cannot_be_saved(
    api: FakeApi, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OutputError("cannot write edgelm.db: disk is full")

    monkeypatch.setattr(Chats, "add", refuse)
    chat = talk(api, ["one", "two", "/retry", "/system Be brief."])
    captured = capsys.readouterr()
    assert captured.out == "You said: one \nYou said: two \n"
    assert captured.err.count("warning: the chat is not saved") == 1
    assert "this chat is not saved, so nothing in it can be gone back to" in captured.err
    assert len(chat.messages) == 4
