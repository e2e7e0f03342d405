"""What people's fingers know: Ctrl+C, Esc Esc, a backslash, commands by other names; lines with a slash that are none."""

from __future__ import annotations

import pytest
from app_driver import Driver, running
from scripted_engine import ScriptedEngine
from textual.widgets import TextArea

from edgelm.conversation.commands import parse
from edgelm.conversation.settings import AGAIN_TEMPERATURE, ChatSettings
from edgelm_tui.screens.chat.prompt.waiting import WaitingChip
from edgelm_tui.shell.dialogs.questions import AskText, Choose


async def test_ctrl_c_clears_the_prompt_then_stops_then_quits() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("word " * 100)
        await it.until(lambda: it.app.services.desk.busy, "asked")
        await it.write("half a thought")
        await it.press("ctrl+c")
        assert it.prompt.text == ""
        assert it.app.services.desk.busy
        await it.press("ctrl+c")
        assert not it.app.services.desk.busy
        await it.press("up")
        assert it.prompt.text == "half a thought"
        await it.press("ctrl+c", "ctrl+c")
        await it.until(lambda: "Ctrl+C again quits" in it.toasts, "said")
        assert it.app.is_running


async def test_esc_esc_edits_the_last_prompt() -> None:
    async with running() as it:
        await it.press("escape", "escape")
        assert not isinstance(it.app.screen, AskText)
        await it.ask("one")
        await it.ask("two")
        await it.press("escape", "x", "escape")
        assert not isinstance(it.app.screen, AskText)
        await it.press("backspace", "escape", "escape")
        await it.until(lambda: isinstance(it.app.screen, AskText), "asked")
        assert it.app.screen.query_one(TextArea).text == "two"
        it.app.screen.query_one(TextArea).load_text("three")
        await it.press("ctrl+s")
        await it.idle()
        await it.until(lambda: it.said[2:] == ["three", "You said: three"], "asked again")


async def test_a_backslash_before_enter_breaks_the_line() -> None:
    async with running() as it:
        await it.write("one\\")
        await it.press("enter")
        assert it.prompt.text == "one\n"
        await it.write("two\\\\")
        await it.press("enter")
        await it.idle()
        assert it.said[0] == "one\ntwo\\\\"


@pytest.mark.parametrize("line", ["/exit", "/quit"])
async def test_leaving_has_two_names(line: str) -> None:
    async with running() as it:
        await it.send(line)
        await it.until(lambda: it.app._exit or not it.app.is_running, "left")


async def test_clear_is_a_new_chat_and_theme_changes_the_colours() -> None:
    async with running() as it:
        await it.ask("one")
        await it.send("/clear")
        await it.until(lambda: it.said == [], "new")
        assert [one.title for one in it.app.services.chats.sessions()] == ["one"]
        await it.send("/theme edgelm-light")
        assert it.app.services.settings.app.theme == "edgelm-light"
        await it.send("/theme pink")
        await it.until(lambda: "there is no theme 'pink'" in it.toasts, "said")
        it.prompt.say("")
        await it.send("/theme")
        await it.until(lambda: isinstance(it.app.screen, Choose), "asked")


async def left_standing(it: Driver, text: str, said: str) -> None:
    await it.write(text)
    await it.press("escape", "enter")
    await it.until(lambda: said in it.toasts, "said")
    assert it.prompt.text == text
    it.prompt.say("")


async def test_a_command_that_is_none_stays_and_one_that_failed_comes_back() -> None:
    async with running() as it:
        await left_standing(it, "/renam my chat", "did you mean /rename?")
        await left_standing(it, "/quti", "did you mean /quit?")
        for line, said in {
            "/import nowhere.md": "there is no file nowhere.md",
            "/attach nowhere.txt": "there is no file nowhere.txt",
            "/retry": "there is no message yet",
            "/feedback rows.jsonl": "there are no preferences rows yet",
        }.items():
            await it.write(line)
            await it.press("escape", "enter")
            await it.until(lambda said=said: said in it.toasts, "said")  # type: ignore[misc]
            await it.press("up")
            assert it.prompt.text == line
            it.prompt.say("")
            it.prompt.forget_place()
        assert it.said == []


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("/usr/bin is a folder", "/usr/bin is a folder"),
        ("/etc/hosts", "/etc/hosts"),
        ("//quit", "/quit"),
        ("/* a comment */", "/* a comment */"),
        ("/ alone", "/ alone"),
    ],
)
async def test_a_line_with_a_slash_can_be_text(line: str, sent: str) -> None:
    async with running() as it:
        await it.write(line)
        await it.press("escape", "enter")
        await it.idle()
        assert it.said[0] == sent
        assert it.prompt.text == ""


def test_what_is_a_command() -> None:
    assert parse("/rename my chat") == ("/rename", "my chat")
    assert parse("/system\nBe brief.\nAlways.") == ("/system", "Be brief.\nAlways.")
    for text in ("/usr/bin", "//x", "/2", "/", "x /quit", "/path.txt", ""):
        assert parse(text) is None, text


async def test_again_is_another_answer() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await it.ask("one")
        await it.press("ctrl+r")
        await it.idle()
        assert engine.asked[-1]["settings"]["temperature"] == AGAIN_TEMPERATURE
        await it.until(lambda: f"drawn at temperature {AGAIN_TEMPERATURE}" in it.toasts, "said")
        it.chat.open_chat.keep_settings(ChatSettings(temperature=0.3, seed=7))
        await it.press("ctrl+r")
        await it.idle()
        await it.press("ctrl+r")
        await it.idle()
        said = [asked["settings"] for asked in engine.asked[-2:]]
        assert [one["temperature"] for one in said] == [0.3, 0.3]
        assert [one["seed"] for one in said] == [7, 8]
        it.chat.open_chat.keep_settings(
            ChatSettings(system="Be brief.")
        )  # the likeliest answer is another one under it
        await it.press("ctrl+r")
        await it.idle()
        assert "temperature" not in engine.asked[-1]["settings"]
        await it.press("ctrl+r")
        await it.idle()
        assert engine.asked[-1]["settings"]["temperature"] == AGAIN_TEMPERATURE
        it.chat.open_chat.keep_settings(ChatSettings(temperature=0.3, seed=7))
        await it.ask("two")
        assert engine.asked[-1]["settings"]["seed"] == 7


def test_settings_of_another_answer() -> None:
    assert ChatSettings().again(1, is_greedy=False) == ChatSettings()
    assert (
        ChatSettings(temperature=0.0).again(1, is_greedy=False).sampling["temperature"] == AGAIN_TEMPERATURE
    )
    assert ChatSettings(temperature=1.0, top_k=1).again(2, is_greedy=False) == ChatSettings(
        temperature=0.8, top_k=0
    )
    assert ChatSettings(seed=2**64 - 1).again(1, is_greedy=False).sampling["seed"] == 0
    assert ChatSettings(seed=0).again(3, is_greedy=True) == ChatSettings(seed=3, temperature=0.8)


async def test_an_unknown_model_leaves_the_one_that_works() -> None:
    async with running() as it:
        await it.ask("one")
        await it.send("/model nope")
        await it.until(lambda: "no model 'nope'" in it.toasts, "said")
        await it.until(lambda: it.app.services.state.model is not None, "still there")
        assert not it.engine.models[0].closed
        assert len(it.engine.models) == 1
        await it.ask("two")
        assert it.said[-1] == "You said: two"


@pytest.mark.parametrize("name", ["missing", "huge"])
async def test_a_model_that_fails_to_load_gives_way_to_the_one_before(name: str) -> None:
    async with running(["tiny", name]) as it:
        await it.until(lambda: isinstance(it.app.screen, Choose), "offered")
        await it.press("enter")
        await it.until(lambda: it.app.services.state.model is not None, "loaded")
        await it.ask("one")
        await it.send(f"/model {name}")
        await it.until(lambda: len(it.engine.models) == 2 and it.app.services.state.model is not None, "back")
        assert it.app.services.state.model is not None
        assert it.app.services.state.model.name == "tiny"
        assert ("no model" if name == "missing" else "needs 99 GB") in it.status
        await it.ask("two")
        assert it.said[-1] == "You said: two"
        assert "99" not in it.status


async def test_esc_while_another_model_is_loaded_brings_the_one_before_back() -> None:
    async with running(["tiny", "other"]) as it:
        await it.until(lambda: isinstance(it.app.screen, Choose), "offered")
        await it.press("enter")
        await it.until(lambda: it.app.services.state.model is not None, "loaded")
        await it.ask("one")
        it.engine.loading.clear()
        await it.send("/model other")
        await it.until(lambda: it.app.services.state.loading == "other", "loading")
        await it.press("escape")
        assert it.app.services.state.loading == "tiny"
        await it.until(lambda: "tiny comes back" in it.toasts, "said")
        it.engine.loading.set()
        await it.until(
            lambda: it.app.services.state.model is not None and it.app.services.state.model.name == "tiny",
            "back",
        )
        assert [model.closed for model in it.engine.models[-2:]] == [True, False]
        await it.ask("two")
        assert it.said[-1] == "You said: two"


async def test_a_model_let_go_while_it_loads_is_loaded_again_by_the_next_prompt() -> None:
    engine = ScriptedEngine()
    engine.loading.clear()
    async with running(engine=engine) as it:
        await it.until(lambda: it.app.services.state.loading == "tiny", "loading")
        await it.send("hello")
        it.app.services.models.forget()
        assert it.app.services.state.loading is None
        engine.loading.set()
        await it.until(lambda: bool(engine.models) and engine.models[0].closed, "let go")
        assert (it.app.services.state.loading, it.app.services.state.model) == (None, None)
        assert len(it.chat.query(WaitingChip)) == 1
        await it.press("enter")
        await it.until(lambda: it.said[-1:] == ["You said: hello"], "what waited is answered")
        it.app.services.models.forget()
        it.app.services.models.load("tiny")
        it.app.services.models.forget()
        await it.ask("again")
        assert it.said[-1] == "You said: again"


async def test_sending_loads_the_model_that_the_chat_was_with() -> None:
    async with running(["one", "two"]) as it:
        await it.until(lambda: isinstance(it.app.screen, Choose), "offered")
        await it.press("enter")
        await it.until(lambda: it.app.services.state.model is not None, "loaded")
        await it.ask("hello")
        it.app.services.models.forget()
        await it.ask("again")
        await it.until(lambda: it.said[-1:] == ["You said: again"], "answered")
        assert it.app.services.state.model is not None
        assert it.app.services.state.model.name == "one"
        it.app.services.models.forget()
        await it.press("ctrl+r")
        await it.until(lambda: "one is being loaded" in it.toasts, "said")
        await it.until(lambda: it.app.services.state.model is not None, "loaded")
