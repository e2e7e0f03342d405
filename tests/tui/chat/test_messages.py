"""Keys on a message: copy, code, edit, regenerate, branch, siblings, rate, correct, delete, move."""

from __future__ import annotations

import pytest
from app_driver import Driver, running
from scripted_engine import ScriptedEngine
from textual.widgets import TextArea

from edgelm.store.feedback import preference_rows
from edgelm_tui.screens.chat.transcript.view import MessageView
from edgelm_tui.shell.dialogs.questions import AskText

CODE = "Two:\n\n```python\nprint(1)\n```\n\n```sh\nls\n```\n"


async def conversation(it: Driver) -> None:
    await it.ask("one")
    await it.ask("two")


async def test_copy_the_text_and_the_code_by_number() -> None:
    engine = ScriptedEngine()
    engine.script["code"] = CODE
    async with running(engine=engine) as it:
        await it.ask("code")
        await it.focus(1)
        await it.press("y")
        assert it.app.clipboard == CODE
        await it.press("2")
        assert it.app.clipboard == "ls\n"
        await it.press("9")
        await it.until(lambda: "there is no code block 9, the message has 2" in it.toasts, "said")
        assert "┌ 2 sh" in it.screen_text
        await it.send("/copy 1")
        assert it.app.clipboard == "print(1)\n"


async def test_regenerate_and_switch_between_alternatives() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await conversation(it)
        engine.script["one"] = "another answer"
        await it.focus(1)
        await it.press("r")
        await it.idle()
        assert it.said == ["one", "another answer"]
        await it.until(lambda: "‹ 2/2 ›" in it.screen_text, "counted")
        await it.focus(1)
        await it.press("left_square_bracket")
        assert it.said == ["one", "You said: one", "two", "You said: two"]
        assert "‹ 1/2 ›" in it.screen_text
        assert isinstance(it.app.focused, MessageView)
        await it.press("right_square_bracket")
        assert it.said == ["one", "another answer"]
        await it.focus(0)
        await it.press("right")
        await it.until(lambda: "there is no alternative" in it.toasts, "said")


async def test_ctrl_r_answers_the_last_question_again() -> None:
    async with running() as it:
        await it.ask("one")
        await it.press("ctrl+r")
        await it.idle()
        assert it.app.services.chats.siblings(it.views[1].message.id) == [2, 3]


async def test_edit_a_prompt_and_keep_the_old_branch() -> None:
    async with running() as it:
        await conversation(it)
        await it.focus(2)
        await it.press("e")
        assert isinstance(it.app.screen, AskText)
        it.app.screen.query_one(TextArea).load_text("three")
        await it.press("ctrl+s")
        await it.idle()
        assert it.said == ["one", "You said: one", "three", "You said: three"]
        assert it.engine.asked[-1]["messages"][-1]["content"] == "You said: one"
        await it.focus(2)
        await it.press("left")
        assert it.said[2:] == ["two", "You said: two"]


async def test_leaving_the_editor_changes_nothing() -> None:
    async with running() as it:
        await it.ask("one")
        await it.focus(0)
        await it.press("e", "escape")
        assert it.said == ["one", "You said: one"]
        assert not isinstance(it.app.screen, AskText)


async def test_a_better_answer_is_a_preference_and_a_training_row() -> None:
    async with running() as it:
        await it.ask("one")
        await it.focus(1)
        await it.press("w")
        it.app.screen.query_one(TextArea).load_text("better")
        await it.press("ctrl+s")
        await it.until(lambda: it.said == ["one", "better"], "shown")
        assert "written by you" in it.screen_text
        (row,) = preference_rows(it.app.services.chats)
        assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("better", "You said: one")
        await it.focus(0)
        await it.press("w")
        await it.until(lambda: "only an answer can be corrected" in it.toasts, "said")


async def test_rate() -> None:
    async with running() as it:
        await it.ask("one")
        await it.focus(1)
        await it.press("plus")
        assert "+ good" in it.views[1].plain
        await it.press("minus")
        assert "- bad" in it.views[1].plain
        await it.press("minus")
        assert "bad" not in it.views[1].plain
        await it.focus(0)
        await it.press("plus")
        await it.until(lambda: "only answers are rated" in it.toasts, "said")


async def test_branch_into_a_new_chat() -> None:
    async with running() as it:
        await conversation(it)
        first = it.chat.open_chat.session_id
        await it.focus(1)
        await it.press("b")
        await it.until(lambda: it.chat.open_chat.session_id != first, "opened")
        assert it.said == ["one", "You said: one"]
        assert len(it.app.services.chats.path(first or 0)) == 4


async def test_delete_and_undo() -> None:
    async with running() as it:
        await conversation(it)
        await it.focus(2)
        await it.press("x", "x")
        assert it.said == ["one", "You said: one"]
        await it.send("/undo")
        await it.until(lambda: len(it.said) == 4, "back")
        await it.send("/undo")
        await it.until(lambda: "nothing was deleted" in it.toasts, "said")


async def test_deleting_the_answer_under_way_stops_it() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        engine.gate.clear()
        await it.send("word " * 100)
        await it.until(lambda: "You said:" in it.screen_text, "answering")
        await it.focus(1)
        await it.press("x", "x")
        assert not it.app.services.desk.busy
        assert len(it.said) == 1


async def test_nothing_new_is_asked_while_an_answer_is_under_way() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await it.ask("one")
        engine.gate.clear()
        await it.send("word " * 100)
        await it.focus(1)
        await it.press("r")
        await it.until(lambda: "an answer is under way" in it.toasts, "said")
        assert it.said[1] == "You said: one"
        await it.press("escape")
        assert not it.app.services.desk.busy


async def test_a_whole_answer_does_not_go_on() -> None:
    async with running() as it:
        await it.ask("one")
        await it.focus(1)
        await it.press("c")
        await it.until(lambda: "this answer is whole" in it.toasts, "said")


async def test_the_keyboard_reaches_every_message() -> None:
    async with running() as it:
        await conversation(it)
        it.prompt.focus()
        await it.press("shift+tab")
        assert it.app.focused is it.views[-1]
        await it.press("up", "k")
        assert it.app.focused is it.views[1]
        await it.press("down", "j", "down")
        assert it.app.focused is it.prompt
        await it.press("shift+tab", "escape")
        assert it.app.focused is it.prompt


async def test_the_mouse_selects_text() -> None:
    async with running() as it:
        await it.ask("hello")
        view = it.views[1]
        await it.pilot.mouse_down(view, offset=(2, 1))
        await it.pilot.hover(view, offset=(10, 1))
        await it.pilot.mouse_up(view, offset=(10, 1))
        await it.press("ctrl+c")
        assert it.app.clipboard
        assert it.app.clipboard in "You said: hello"


async def test_the_palette_acts_on_the_last_answer() -> None:
    async with running() as it:
        await it.ask("one")
        await it.app.run_action("screen.message('rate', 1)")
        await it.pilot.pause()
        assert it.views[1].message.rating == 1


async def test_every_code_block_up_to_the_ninth_has_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine()
    engine.script["many"] = "\n\n".join(f"```\nblock {n}\n```" for n in range(1, 9))
    copied: list[str] = []
    async with running(engine=engine) as it:
        monkeypatch.setattr(it.app, "copy_to_clipboard", copied.append)
        await it.ask("many")
        await it.focus(1)
        await it.press(*"123456789")
        assert [text.strip() for text in copied] == [f"block {n}" for n in range(1, 9)]
        await it.until(lambda: "there is no code block 9, the message has 8" in it.toasts, "said")
