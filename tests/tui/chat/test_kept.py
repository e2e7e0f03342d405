"""What a user has typed, attached or loaded is never lost: by other chats, other apps, an answer under way, a comparison."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_driver import Driver, running
from furniture import DONE, install, steps, write_run
from scripted_engine import ScriptedEngine
from textual import events
from textual.widgets import Input, TextArea

from edgelm.store.chat_schema import Attachment
from edgelm.store.chats import Chats
from edgelm_tui.screens.chat.prompt.completion import Completions
from edgelm_tui.screens.chat.prompt.waiting import WaitingChip
from edgelm_tui.screens.library.hub_search import HubScreen
from edgelm_tui.screens.tune.versus import VersusScreen
from edgelm_tui.shell.dialogs.questions import AskText


def slow_engine() -> ScriptedEngine:
    """Says nothing while its gate is closed."""
    engine = ScriptedEngine()
    engine.pace_s = 600.0
    return engine


async def paste_lines(it: Driver) -> None:
    before = len(it.chat.query(WaitingChip))
    it.app.post_message(events.Paste("x\n" * 40))
    await it.until(lambda: len(it.chat.query(WaitingChip)) == before + 1, "attached")


async def test_prompts_of_two_chats_wait_for_one_answer() -> None:
    engine = slow_engine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("first")
        await it.until(lambda: it.app.services.desk.busy, "answering")
        await it.send("then this")
        await it.press("ctrl+n")
        await it.send("second")
        assert it.said == []
        engine.gate.set()
        await it.until(lambda: it.said == ["second", "You said: second"], "the other chat had its turn")
        await it.idle()
        texts = [asked["text"] for asked in engine.asked]
        assert texts == ["first", "then this", "second"]


async def test_what_waits_in_another_chat_stays_after_esc() -> None:
    engine = slow_engine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("first")
        await it.until(lambda: it.app.services.desk.busy, "answering")
        await it.press("ctrl+n")
        await it.send("second")
        await it.press("escape")
        engine.gate.set()
        await it.until(lambda: "1 waiting, Enter sends the next" in it.meter, "it waits")
        it.app.services.models.load("tiny")
        await it.until(lambda: it.app.services.state.model is not None, "loaded again")
        assert it.said == []
        await it.press("enter")
        await it.until(lambda: it.said == ["second", "You said: second"], "sent")


async def test_what_waits_in_a_deleted_chat_is_not_sent_unseen() -> None:
    engine = slow_engine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("first")
        await it.until(lambda: it.app.services.desk.busy, "answering")
        await it.press("ctrl+n")
        await it.send("second")
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "waiting")
        await it.send("/delete")
        await it.until(lambda: not it.chat.query(WaitingChip), "gone with its chat")
        await it.send("/undo")
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "back with it")
        engine.gate.set()
        await it.idle()
        assert [asked["text"] for asked in engine.asked] == ["first"]
        await it.press("enter")
        await it.until(lambda: it.said == ["second", "You said: second"], "sent when asked for")


async def test_an_edit_is_not_lost_while_an_answer_is_under_way() -> None:
    engine = slow_engine()
    async with running(engine=engine) as it:
        await it.ask("one")
        await it.focus(0)
        await it.press("e")
        await it.until(lambda: isinstance(it.app.screen, AskText), "asked")
        await it.press(*" and")
        engine.gate.clear()
        it.app.services.desk.ask(it.app.services.asker.ask(it.views[0].message))
        await it.press("ctrl+s")
        await it.until(lambda: "an answer is under way" in it.toasts, "said")
        await it.until(lambda: isinstance(it.app.screen, AskText), "still there")
        assert it.app.screen.query_one(TextArea).text == "one and"
        engine.gate.set()
        await it.idle()
        await it.press("ctrl+s")
        await it.until(lambda: it.said == ["one and", "You said: one and"], "asked again")


async def test_attachments_stay_with_their_chat() -> None:
    async with running() as it:
        await it.ask("one")
        first = it.chat.open_chat.session_id
        assert first is not None
        await paste_lines(it)
        await it.press("ctrl+n")
        assert not it.chat.query(WaitingChip)
        await paste_lines(it)
        await it.app.open_chat(first)
        assert [chip.file for chip in it.chat.query(WaitingChip)] == [Attachment("paste 1", "x\n" * 40)]
        await it.ask("what is this?")
        assert it.views[-2].message.attachments[0].text.startswith("x\nx")
        await it.send("/delete")
        await it.until(lambda: not it.chat.query(WaitingChip), "gone with its chat")


async def test_what_is_attached_and_not_sent_is_there_after_a_restart() -> None:
    async with running() as it:
        await it.ask("one")
        await paste_lines(it)
        await paste_lines(it)
        it.chat.query(WaitingChip).first().post_message(
            WaitingChip.Dropped(it.chat.query(WaitingChip).first())
        )
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "one is taken away")
        await it.press("ctrl+q")
    async with running() as it:
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "still attached")
        await it.ask("what is this?")
        assert it.views[-2].message.attachments[0].text.startswith("x\nx")
        assert not it.chat.query(WaitingChip)
    async with running() as it:
        await it.until(lambda: it.said[-2:-1] == ["what is this?"], "opened")
        assert not it.chat.query(WaitingChip)


async def test_two_clicks_on_an_attachment_take_that_one_away() -> None:
    async with running() as it:
        for _ in range(3):
            await paste_lines(it)
        first, middle, last = it.chat.query(WaitingChip)
        for chip in (first, first, last, last):
            it.chat.post_message(WaitingChip.Dropped(chip))
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "two are taken away")
        assert [file.name for file in it.chat.open_chat.conversation.attachments] == ["paste 2"]
        assert it.chat.query_one(WaitingChip).file == middle.file
        await it.press("ctrl+n")
        await it.until(lambda: not it.chat.query(WaitingChip), "another chat")
        await it.app.open_chat(1)
        it.chat.post_message(WaitingChip.Dropped(it.chat.query_one(WaitingChip)))
        await it.until(lambda: not it.chat.query(WaitingChip), "taken away in the chat opened again")


async def test_a_waiting_prompt_comes_back_below_what_is_typed() -> None:
    engine = slow_engine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("first")
        await it.until(lambda: it.app.services.desk.busy, "answering")
        await paste_lines(it)
        await it.send("second")
        await it.until(lambda: len(it.chat.query(WaitingChip)) == 1, "waiting")
        await it.write("third")
        await it.pilot.click(WaitingChip)
        await it.until(lambda: it.prompt.text == "third\n\nsecond", "both")
        files = it.chat.open_chat.conversation.attachments
        assert [file.name for file in files] == ["paste 1"]
        engine.gate.set()
        await it.idle()


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_chat_that_another_app_deletes(at_once: bool) -> None:
    async with running() as it:
        await it.ask("one")
        first = it.chat.open_chat.session_id
        assert first is not None
        await it.write("half a thought")
        with Chats() as other:
            other.delete(first)
            if at_once:
                other.purge(older_than_s=-9.0)
        it.app.services.changed()  # whatever asks for the chat's settings now
        await it.until(lambda: "deleted elsewhere" in it.toasts, "said")
        assert it.said == []
        assert it.prompt.text == "half a thought"
        await it.ask(" more")
        await it.until(
            lambda: it.said == ["half a thought more", "You said: half a thought more"], "answered"
        )
        assert it.chat.open_chat.session_id != first


async def test_sending_into_a_chat_that_was_just_deleted_elsewhere() -> None:
    async with running() as it:
        await it.ask("one")
        first = it.chat.open_chat.session_id
        assert first is not None
        with Chats() as other:
            other.delete(first)
        await it.ask("two")
        await it.until(lambda: it.said == ["two", "You said: two"], "in a new chat")
        assert it.engine.asked[-1]["messages"] == []


async def test_what_is_typed_during_a_search_of_the_hub_is_no_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgelm.hub.search import HubModel

    found = HubModel("org/deep", 1, 1, is_mlx=True, is_gguf=False, is_gated=False)
    async with running() as it:
        await it.press("f3", "h")
        await it.until(lambda: isinstance(it.app.screen, HubScreen), "open")
        screen = it.app.screen
        assert isinstance(screen, HubScreen)
        monkeypatch.setattr(screen, "_search", lambda query, number: None)
        await it.press(*"tiny", "enter", *"er d")
        screen._take(screen._asked, [found])
        await it.press("d", "4")
        assert it.app.screen is screen
        assert screen.query_one(Input).value == "tinyer dd4"
        assert "org/deep" in it.screen_text
        await it.press("enter")
        screen._take(screen._asked, [found])
        await it.press("d")
        await it.until(lambda: bool(it.app.services.jobs.jobs), "got")


async def test_a_comparison_gives_the_chat_its_model_back(home: Path) -> None:
    base, other = install(home, "base"), install(home, "other")
    run = write_run(
        home, "poet", [*steps(5), {**DONE, "adapter": str(home / "adapters" / "poet")}], str(base)
    )
    assert run.is_dir()
    async with running(["base", "other"]) as it:
        it.app.services.models.load("other")
        await it.until(lambda: it.app.services.state.model is not None, "loaded")
        it.app.push_screen(VersusScreen(it.app.services, str(base), "poet", "who?"))
        await it.until(lambda: isinstance(it.app.screen, VersusScreen), "open")
        await it.press("enter")
        await it.until(lambda: "done; Enter asks again" in it.screen_text, "both asked")
        await it.press("escape")
        await it.until(
            lambda: (now := it.app.services.state.model) is not None and now.name == other.name, "back"
        )
        assert it.app.services.state.model is not None
        assert not it.app.services.state.model.adapter


async def test_names_of_files_are_completed_behind_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my notes").mkdir()
    (tmp_path / "my notes" / "poem.txt").write_text("roses")
    (tmp_path / "chat.md").write_text("## User\n\nhello\n")
    (tmp_path / "chat.bin").write_text("")
    monkeypatch.chdir(tmp_path)
    async with running() as it:
        completions = it.chat.query_one(Completions)
        await it.write("/attach ./my")
        await it.until(lambda: completions.is_open, "offered")
        await it.press("tab")
        assert it.prompt.text == '/attach "./my notes/'
        await it.press("tab")
        assert it.prompt.text == '/attach "./my notes/poem.txt" '
        await it.press("enter")
        await it.until(lambda: "poem.txt · 1 line" in it.screen_text, "attached")
        await it.write("/import cha")
        await it.until(lambda: completions.is_open, "offered")
        assert completions.option_count == 1
        await it.press("tab")
        assert it.prompt.text == "/import chat.md "
        it.prompt.say("")
        await it.write("/export ./my")
        await it.until(lambda: completions.is_open, "offered")
        await it.press("tab")
        assert it.prompt.text == '/export "./my notes/'
        it.prompt.say("")
        await it.write("/attach nowhere")
        await it.press("enter")
        await it.until(lambda: "there is no file nowhere" in it.toasts, "said")


@pytest.mark.parametrize("editor", ['vi "', "rm", "true --"])
def test_an_editor_that_cannot_be_or_leaves_nothing(editor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelm.errors import OptionError
    from edgelm_tui.screens.chat.prompt.editor import edit_text

    monkeypatch.setenv("VISUAL", editor)
    if editor.startswith("true"):
        assert edit_text("some") == "some"
    else:
        with pytest.raises(OptionError):
            edit_text("some")


async def test_typing_over_the_list_of_chats_is_seen() -> None:
    async with running(size=(60, 18)) as it:
        await it.ask("one")
        await it.press("ctrl+s", *"hello")
        assert "hello" in it.screen_text
        assert it.prompt.text == "hello"


async def test_esc_closes_the_list_before_it_gives_up_a_model() -> None:
    engine = ScriptedEngine()
    async with running(["tiny", "other"], engine=engine, size=(60, 18)) as it:
        await it.press("escape")
        engine.loading.clear()
        it.app.services.models.load("other")
        await it.press("ctrl+s", "escape")
        assert it.app.services.state.loading == "other"
        assert it.app.focused is it.prompt
        await it.press("escape")
        assert it.app.services.state.loading is None


@pytest.mark.parametrize("where", ["message", "chats"])
async def test_typing_faster_than_the_focus_moves(where: str) -> None:
    """All letters are there before the first is handled, as from a terminal that was held up."""
    async with running() as it:
        await it.ask("one")
        if where == "message":
            await it.focus(1)
        else:
            await it.press("ctrl+s")
        for letter in "hello, fix deed":
            key = {" ": "space", ",": "comma"}.get(letter, letter)
            it.app.post_message(events.Key(key, letter))
        await it.until(lambda: it.prompt.text == "hello, fix deed", "all of it is in the prompt")
        assert len(it.app.screen_stack) == 1
        assert it.said == ["one", "You said: one"]
