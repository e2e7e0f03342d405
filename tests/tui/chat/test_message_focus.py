"""Where the focus is after each operation on a message, and what keys do that come faster than the screen is drawn."""

from __future__ import annotations

import asyncio

import pytest
from app_driver import Driver, running
from scripted_engine import ScriptedEngine
from textual import events
from textual.widgets import TextArea

from edgelm_tui.screens.chat.sidebar import ChatList
from edgelm_tui.screens.chat.transcript.view import MessageView
from edgelm_tui.shell.dialogs.questions import AskText


async def conversation(it: Driver, *prompts: str) -> None:
    for prompt in prompts or ("one", "two"):
        await it.ask(prompt)


def focused(it: Driver) -> str:
    """What the message in focus says."""
    view = it.app.focused
    assert isinstance(view, MessageView), view
    assert view in it.views
    return view.message.content


async def edited(it: Driver, key: str, text: str) -> None:
    await it.press(key)
    await it.until(lambda: isinstance(it.app.screen, AskText), "asked")
    it.app.screen.query_one(TextArea).load_text(text)
    await it.press("ctrl+s")
    await it.idle()
    await it.until(lambda: not isinstance(it.app.screen, AskText), "closed")


async def type_fast(it: Driver, *keys: str) -> None:
    """All keys are there before the first is obeyed."""
    for key in keys:
        character = {"plus": "+", "minus": "-"}.get(key, key if len(key) == 1 else None)
        it.app.post_message(events.Key(key, character))
    await it.pilot.pause()
    await it.pilot.pause()


@pytest.mark.parametrize("at", [0, 2])
async def test_an_edited_prompt_has_the_focus_and_its_alternatives(at: int) -> None:
    async with running() as it:
        await conversation(it)
        await it.focus(at)
        await edited(it, "e", "three")
        assert focused(it) == "three"
        assert it.said[at:] == ["three", "You said: three"]
        await it.press("left_square_bracket")
        assert focused(it) == ("one", "two")[at // 2]
        assert "there is no alternative" not in it.toasts
        await it.press("right_square_bracket")
        assert focused(it) == "three"


@pytest.mark.parametrize("at", [1, 3])
async def test_another_answer_and_a_better_one_have_the_focus(at: int) -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await conversation(it)
        engine.script["one"] = engine.script["two"] = "another"
        await it.focus(at)
        await it.press("r")
        await it.idle()
        await it.until(lambda: focused(it) == "another", "in focus")
        await edited(it, "w", "better")
        assert focused(it) == "better"
        await it.press("left")
        assert focused(it) == "another"
        await it.press("left")
        assert focused(it) == ("You said: one", "You said: two")[at // 2]


async def test_going_on_keeps_the_focus() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await conversation(it, "one")
        engine.gate.clear()
        await it.send("word " * 50)
        await it.until(lambda: it.views[-1].message.content != "", "begun")
        await it.press("escape")
        engine.gate.set()
        await it.focus(-1)
        await it.press("c")
        await it.idle()
        assert it.app.focused is it.views[-1]


async def test_deleting_focuses_what_stands_there_then() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await conversation(it)
        engine.script["two"] = "another"
        await it.focus(3)
        await it.press("r")
        await it.idle()
        await it.until(lambda: focused(it) == "another", "in focus")
        await it.press("delete")
        assert focused(it) == "You said: two"
        await it.press("delete")
        assert focused(it) == "two"
        await it.focus(0)
        await it.press("delete")
        assert it.said == []
        assert it.app.focused is it.prompt
        assert it.chat.open_chat.session_id is not None


async def test_from_the_prompt_one_goes_on_writing() -> None:
    async with running() as it:
        await conversation(it, "one")
        it.prompt.focus()
        await it.press("ctrl+r")
        await it.idle()
        assert it.app.focused is it.prompt
        await it.send("/retry")
        await it.idle()
        assert it.app.focused is it.prompt


async def test_a_change_by_another_process_moves_the_focus_to_nothing_that_a_key_destroys() -> None:
    async with running() as it:
        await conversation(it)
        await it.focus(3)
        it.app.services.chats.delete_message(it.views[2].message.id)
        await it.chat.open_chat.reload()
        assert focused(it) == "You said: one"


async def test_what_is_typed_on_a_message_is_written_in_the_prompt() -> None:
    async with running() as it:
        await conversation(it, "one")
        await it.focus(0)
        await it.press(*"fix", "space", *"it, please?")
        assert it.prompt.text == "fix it, please?"
        assert it.app.focused is it.prompt
        assert it.said == ["one", "You said: one"]
        await it.focus(1)
        await it.press("A", "x", "x")
        assert it.prompt.text == "fix it, please?Axx"
        await it.focus(1)
        it.app.post_message(events.Paste(" pasted\rtext"))
        await it.until(lambda: it.prompt.text.endswith("Axx pasted\ntext"), "pasted")


async def test_one_x_deletes_no_message() -> None:
    async with running() as it:
        await conversation(it)
        await it.focus(2)
        await it.press("x")
        await it.until(lambda: "x again deletes this message" in it.toasts, "said")
        await it.press("y", "x")
        assert len(it.said) == 4
        await it.press("up", "down", "x")
        assert len(it.said) == 4
        await it.press("x")
        assert it.said == ["one", "You said: one"]
        await it.send("/undo")
        await it.until(lambda: len(it.said) == 4, "back")


async def test_one_x_deletes_no_chat_and_typing_goes_to_the_prompt() -> None:
    async with running() as it:
        await conversation(it, "cats")
        await it.press("ctrl+n")
        await conversation(it, "dogs")
        await it.press("ctrl+s", "x")
        assert len(it.app.services.chats.sessions()) == 2
        await it.press("down", "x")
        assert len(it.app.services.chats.sessions()) == 2
        await it.press("x")
        await it.until(lambda: [one.title for one in it.app.services.chats.sessions()] == ["dogs"], "deleted")
        assert it.said == ["dogs", "You said: dogs"]
        await it.press("u")
        await it.until(lambda: len(it.app.services.chats.sessions()) == 2, "back")
        it.chat.query_one(ChatList).focus()
        await it.press(*"what?")
        assert it.prompt.text.endswith("what?")
        assert len(it.app.services.chats.sessions()) == 2


async def test_keys_faster_than_the_screen_act_on_what_they_would_one_by_one() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        await conversation(it)
        engine.script["two"] = "another"
        await it.focus(3)
        await it.press("r")
        await it.idle()
        await it.until(lambda: focused(it) == "another", "in focus")
        reload = it.chat.open_chat.reload

        async def slow(focus: int | None = None) -> None:
            for _ in range(20):  # others have their turn
                await asyncio.sleep(0)
            await reload(focus)

        it.chat.open_chat.reload = slow  # type: ignore[method-assign]
        await type_fast(it, "plus", "up", "up", "plus")
        ids = [view.message.id for view in it.views]
        await it.until(lambda: it.app.services.chats.message(ids[1]).rating == 1, "rated")
        assert it.app.services.chats.message(ids[3]).rating == 1
        assert it.app.services.chats.message(ids[2]).rating == 0
        await it.focus(3)
        before = it.views[3].message.id
        await type_fast(it, "left", "minus")
        await it.until(lambda: it.views[3].message.rating == -1, "rated")
        assert it.views[3].message.id != before
        assert it.app.services.chats.message(before).rating == 1
        await type_fast(it, "minus", "minus", "minus")
        await it.until(lambda: it.views[3].message.rating == 0, "taken back")


async def test_a_view_that_is_gone_is_not_acted_on() -> None:
    async with running() as it:
        await conversation(it)
        view = it.views[3]
        await view.remove()
        await it.chat.act_on(view, "move", -1)
        assert it.app.focused is it.views[-1]
