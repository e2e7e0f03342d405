"""Conversing: sending, stopping, queueing, thinking, failing, attaching, completing."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_driver import running
from scripted_engine import ScriptedEngine
from textual import events

from edgelm.runtime.events import Finished, Prefill, Text, Usage
from edgelm_tui.screens.chat.prompt.completion import Completions
from edgelm_tui.screens.chat.prompt.waiting import WaitingChip
from edgelm_tui.shell.dialogs.help import HelpScreen
from edgelm_tui.shell.dialogs.questions import Choose


async def test_the_only_model_is_loaded_and_answers() -> None:
    async with running() as it:
        await it.ask("hello")
        assert it.said == ["hello", "You said: hello"]
        assert it.meter == "2 tok/s · first token 0.25 s · 515/8.2k · 100 cached"
        assert it.status.startswith("tiny · memory 8 GB of 17 GB")
        assert it.prompt.text == ""
        assert "You said: hello" in it.screen_text


async def test_the_conversation_goes_to_the_model_with_what_the_chat_says() -> None:
    async with running() as it:
        await it.ask("/system Be brief.")
        await it.ask("one")
        await it.ask("two")
        asked = it.engine.asked[-1]
        assert (asked["text"], asked["system"]) == ("two", "Be brief.")
        assert [turn["content"] for turn in asked["messages"]] == ["one", "You said: one"]
        assert "temperature" not in asked["settings"]  # the model's own


async def test_the_meter_shows_prefill_then_speed() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        engine.pace_s = 20.0
        await it.send("word " * 50)
        await it.until(lambda: it.meter.startswith("prefill 50%"), "prefill")
        engine.pace_s = 0.05
        engine.gate.set()
        engine.gate.clear()
        await it.until(lambda: "tok/s" in it.meter and "/8.2k" in it.meter, "speed")
        assert "100 cached" in it.meter
        await it.press("escape")


async def test_escape_stops_at_once_and_keeps_what_was_said() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("word " * 200)
        await it.until(lambda: "You said:" in it.screen_text, "answering")
        await it.press("escape")
        assert not it.app.services.desk.busy  # though the engine's gate is still closed
        await it.until(lambda: "stopped" in it.meter and "stopped · c goes on" in it.screen_text, "said so")
        kept = it.said[-1]
        assert kept.startswith("You said:")
        engine.gate.set()
        await it.ask("again")
        assert it.said[1] == kept
        assert it.said[-1] == "You said: again"
        assert len(engine.asked[-1]["messages"]) == 2


async def test_escape_stops_in_the_middle_of_the_prompt() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        engine.pace_s = 1.0
        await it.send("hello")
        await it.until(lambda: "prefill" in it.meter, "reading")
        await it.press("escape")
        assert not it.app.services.desk.busy
        engine.gate.set()
        await it.ask("again")
        assert it.said == ["hello", "", "again", "You said: hello\n\nagain"]
        assert engine.asked[-1]["messages"] == []
        assert engine.asked[-1]["text"] == "hello\n\nagain"  # what is shown is what is told


async def test_prompts_wait_for_the_end_of_an_answer_and_survive_escape() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("word " * 200)
        await it.until(lambda: "You said:" in it.screen_text, "answering")
        await it.send("second")
        await it.send("third")
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 2, "waiting")
        assert "2 waiting" in it.meter
        await it.press("escape")
        await it.until(lambda: "Enter sends the next" in it.meter, "held")
        engine.gate.set()
        await it.press("enter")
        await it.until(lambda: it.said[-1] == "You said: third", "both sent, one after the other")
        assert it.said[2:] == ["second", "You said: second", "third", "You said: third"]
        assert len(it.chat.query(WaitingChip)) == 0


async def test_a_waiting_prompt_can_be_taken_back() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("word " * 200)
        await it.send("second")
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "waiting")
        await it.pilot.click(WaitingChip)
        await it.until(lambda: it.prompt.text == "second" and not it.chat.query(WaitingChip), "back")
        await it.press("escape")


async def test_prompts_sent_while_the_model_is_loaded_wait_for_it() -> None:
    engine = ScriptedEngine()
    engine.loading.clear()
    async with running(engine=engine) as it:
        await it.until(lambda: it.app.services.state.loading == "tiny", "loading")
        assert "loading tiny" in it.status
        await it.send("hello")
        assert len(it.chat.query(WaitingChip)) == 1
        engine.loading.set()
        await it.until(lambda: it.said[-1:] == ["You said: hello"], "answered")


async def test_esc_gives_up_a_model_that_is_being_loaded() -> None:
    engine = ScriptedEngine()
    engine.loading.clear()
    async with running(engine=engine) as it:
        await it.until(lambda: it.app.services.state.loading == "tiny", "loading")
        await it.send("hello")
        await it.press("escape")
        assert "loading tiny was stopped" in it.status
        engine.loading.set()
        await it.until(lambda: bool(engine.models) and engine.models[0].closed, "let go")
        assert it.app.services.state.model is None
        assert len(it.chat.query(WaitingChip)) == 1
        engine.loading.clear()
        it.app.services.models.load("missing")
        it.app.services.models.stop_loading()
        engine.loading.set()
        it.app.services.models.load("tiny")
        await it.until(lambda: it.app.services.state.model is not None, "loaded after all")
        assert "missing" not in it.toasts
        await it.press("enter")
        await it.until(lambda: it.said[-1:] == ["You said: hello"], "answered")


async def test_thinking_and_tool_calls_open_and_close() -> None:
    async with running() as it:
        await it.ask("think")
        assert "▸ thinking · 3 words" in it.screen_text
        assert "▸ tool call · weather(city='Paris')" in it.screen_text
        assert "let me see" not in it.screen_text
        await it.focus(1)
        await it.press("t")
        assert "│ let me see" in it.screen_text
        assert '"city": "Paris"' in it.screen_text
        await it.pilot.click(it.views[1], offset=(3, 1))
        await it.until(lambda: "let me see" not in it.screen_text, "closed by a click")


async def test_an_error_in_the_middle_keeps_what_came() -> None:
    async with running() as it:
        await it.ask("break")
        assert it.said == ["break", "half an "]
        assert "error: the engine broke" in it.screen_text
        assert "hint: load the model again" in it.screen_text
        await it.ask("hello")
        assert it.said[-1] == "You said: hello"


async def test_a_question_that_fails_is_reported_and_the_next_is_answered() -> None:
    async with running() as it:
        await it.ask("too long")
        assert "error: the prompt has 9 tokens, expected at most 8" in it.screen_text
        await it.ask("hello")
        assert it.said[-1] == "You said: hello"


@pytest.mark.parametrize(("name", "said"), [("missing", "did you mean tiny?"), ("huge", "needs 99 GB")])
async def test_a_model_that_cannot_be_loaded_is_reported(name: str, said: str) -> None:
    async with running([name]) as it:
        await it.until(lambda: said in it.screen_text and said in it.toasts, "reported")
        await it.send("hello")
        assert it.prompt.text == "hello"
        assert it.said == []
        await it.until(lambda: "no model is loaded" in it.toasts, "said")


async def test_the_model_can_be_changed_in_the_middle_of_a_chat() -> None:
    async with running(["one", "two"]) as it:
        await it.until(lambda: isinstance(it.app.screen, Choose), "offered")
        await it.press("enter")
        await it.until(lambda: it.status.startswith("one"), "loaded")
        await it.ask("hello")
        await it.press("ctrl+l")
        await it.press("down", "enter")
        await it.until(lambda: it.status.startswith("two"), "loaded")
        assert it.engine.models[0].closed
        await it.ask("again")
        assert [view.message.model for view in it.views] == [None, "one", None, "two"]
        assert len(it.engine.asked[-1]["messages"]) == 2
        await it.send("/model one")
        await it.until(lambda: it.status.startswith("one"), "back")


async def test_enter_sends_and_ctrl_j_and_shift_enter_break_the_line() -> None:
    async with running() as it:
        it.prompt.focus()
        await it.press("a", "ctrl+j", "b", "shift+enter", "c", "enter")
        await it.idle()
        assert it.said[0] == "a\nb\nc"


async def test_enter_does_not_overtake_what_was_typed() -> None:
    async with running() as it:
        it.prompt.focus()
        await it.pilot.pause()
        for key in ("h", "i", "ctrl+j", "x", "enter"):
            it.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await it.until(lambda: len(it.said) == 2, "sent")
        assert it.said[0] == "hi\nx"


async def test_up_and_down_walk_through_what_was_asked() -> None:
    async with running() as it:
        await it.ask("one")
        await it.ask("two")
        await it.write("dra")
        await it.press("up")
        assert it.prompt.text == "two"
        await it.press("up", "up")
        assert it.prompt.text == "one"
        await it.press("down", "down")
        assert it.prompt.text == "dra"
        await it.write("\nsecond line")
        await it.press("up")
        assert it.prompt.text == "dra\nsecond line"
    async with running() as it:
        it.prompt.focus()
        await it.press("up")
        assert it.prompt.text in ("two", "dra\nsecond line")


async def test_a_draft_is_there_next_time() -> None:
    async with running() as it:
        await it.write("half a thought")
        await it.press("ctrl+q")
    async with running() as it:
        assert it.prompt.text == "half a thought"


async def test_a_long_paste_becomes_an_attachment() -> None:
    async with running() as it:
        await it.write("what is this? ")
        text = "\n".join(f"line {n}" for n in range(40))
        it.app.post_message(events.Paste(text))
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "attached")
        assert "paste 1 · 40 lines" in it.screen_text
        it.app.post_message(events.Paste("short"))
        await it.until(lambda: it.prompt.text == "what is this? short", "pasted")
        await it.press("enter")
        await it.idle()
        assert it.views[0].message.attachments[0].text == text
        assert "line 39\n</file>\n\nwhat is this? short" in it.engine.asked[-1]["text"]
        assert "⊕ paste 1 · 40 lines" in it.views[0].plain


async def test_an_attachment_can_be_taken_away() -> None:
    async with running() as it:
        it.app.post_message(events.Paste("x\n" * 40))
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "attached")
        await it.pilot.click(WaitingChip)
        await it.until(lambda: not it.chat.query(WaitingChip), "gone")


async def test_files_are_completed_and_attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "poem.txt").write_text("roses")
    (tmp_path / "poem.bin").write_bytes(b"\xff\x00")
    monkeypatch.chdir(tmp_path)
    async with running() as it:
        await it.write("read @notes/po")
        completions = it.chat.query_one(Completions)
        assert completions.is_open
        await it.press("tab")
        assert it.prompt.text == "read @notes/poem.txt "
        assert not completions.is_open
        await it.press("enter")
        await it.idle()
        assert it.views[0].message.attachments[0].text == "roses"
        await it.send("and @poem.bin")
        await it.until(lambda: "poem.bin is binary" in it.toasts, "said")
        assert it.prompt.text == "and @poem.bin"
        await it.press("enter")
        await it.idle()
        assert it.views[-2].message.content == "and @poem.bin"
        await it.ask("and @nowhere")
        assert it.views[-2].message.attachments == ()


async def test_commands_are_completed() -> None:
    async with running() as it:
        await it.write("/ren")
        assert "/rename" in it.screen_text
        await it.press("tab")
        assert it.prompt.text == "/rename "
        it.prompt.say("")
        await it.write("/")
        await it.press("down", "up", "down", "tab")
        assert it.prompt.text == "/model "
        it.prompt.say("")
        await it.write("/he")
        await it.press("escape")
        assert not it.chat.query_one(Completions).is_open
        assert it.prompt.text == "/he"


async def test_an_unknown_command_is_not_sent_and_two_slashes_are() -> None:
    async with running() as it:
        await it.send("/renam x y")
        await it.until(lambda: "no command /renam, did you mean /rename?" in it.toasts, "said")
        assert it.prompt.text == "/renam x y"
        it.prompt.say("")
        await it.ask("//etc/hosts")
        assert it.said[0] == "/etc/hosts"


async def test_help_is_a_command_too() -> None:
    async with running() as it:
        await it.send("/help ")
        assert isinstance(it.app.screen, HelpScreen)


async def test_the_editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "editor.sh"
    script.write_text('#!/bin/sh\nprintf "%s and more" "$(cat "$1")" > "$1"\n')
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    monkeypatch.delenv("VISUAL", raising=False)
    from edgelm_tui.screens.chat.prompt.editor import edit_text

    assert edit_text("some") == "some and more"
    monkeypatch.setenv("EDITOR", "no-such-editor-here")
    from edgelm.errors import OptionError

    with pytest.raises(OptionError, match="no-such-editor-here"):
        edit_text("some")
    async with running() as it:
        await it.press("ctrl+g")
        await it.until(
            lambda: "cannot be opened from here" in it.toasts or "no-such-editor" in it.toasts, "said"
        )


async def test_markup_and_control_characters_are_text() -> None:
    engine = ScriptedEngine()
    engine.script["x"] = "\x1b[31mred [bold]x[/bold] [nonsense"
    async with running(engine=engine) as it:
        await it.ask("[bold]x[/bold] [nonsense")
        assert "[bold]x[/bold] [nonsense" in it.views[0].plain
        await it.ask("x")
        assert "\x1b" not in it.views[-1].plain
        assert "[bold]x[/bold] [nonsense" in it.views[-1].plain


async def test_an_answer_cut_at_the_limit_says_so_and_can_go_on() -> None:
    engine = ScriptedEngine()
    usage = Usage(10, 0, 2, 0.1, 0.2, 1.0, 0)
    engine.script["story"] = [Prefill(10, 10, 0), Text("Once upon"), Finished("length", usage)]
    async with running(engine=engine) as it:
        await it.send("story")
        await it.until(lambda: "cut at the token limit" in it.screen_text, "cut")
        await it.idle()
        await it.focus(1)
        await it.press("c")
        await it.idle()
        assert it.said == ["story", "Once uponYou said:  and so on"]
        ids = engine.asked[-1]["ids"]
        assert ids == [5, 4, 4]  # the prompt as the template renders it, then the words of the answer


async def test_a_long_conversation_fits_and_follows_its_end() -> None:
    async with running(size=(80, 24)) as it:
        for turn in range(8):
            await it.ask(f"turn {turn} " + "word " * 60)
        transcript = it.chat.open_chat.transcript
        await it.until(lambda: 0 < transcript.max_scroll_y == transcript.scroll_y, "at the end")
        assert it.prompt.region.bottom <= 24
        await it.press("pageup")
        await it.until(lambda: transcript.scroll_y < transcript.max_scroll_y, "scrolled up")
        await it.press("pagedown", "pagedown")


async def test_ctrl_c_stops_and_twice_quits() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("word " * 200)
        await it.until(lambda: "You said:" in it.screen_text, "answering")
        await it.press("ctrl+c")
        assert not it.app.services.desk.busy
        await it.press("ctrl+c")
        await it.until(lambda: "Ctrl+C again quits" in it.toasts, "said")
        await it.press("ctrl+c")
        assert not it.app.is_running or it.app._exit


async def test_ctrl_c_copies_a_selection() -> None:
    async with running() as it:
        await it.write("copy me")
        it.prompt.select_all()
        await it.press("ctrl+c")
        assert it.app.clipboard == "copy me"


async def test_ctrl_q_quits_in_the_middle_of_an_answer_and_keeps_it() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("word " * 200)
        await it.until(lambda: "You said:" in it.screen_text, "answering")
        await it.press("ctrl+q")
    assert engine.models[0].closed
    async with running() as it:
        session = it.app.services.chats.latest()
        assert session is not None
        answer = it.app.services.chats.path(session.id)[1]
        assert answer.content.startswith("You said:")
        assert answer.state == "stopped"
