"""Unusual texts and states: very long words, right to left, emoji, 100,000 characters, long histories."""

from __future__ import annotations

import pytest
from app_driver import running
from scripted_engine import ScriptedEngine
from textual.widgets import Input

from edgelm.runtime.events import Text
from edgelm.store.chats import Chats
from edgelm_tui.screens.chat.transcript.view import MessageView

TEXTS = {
    "long word": "x" * 3000,
    "right to left": "שלום עולם, זה טקסט מימין לשמאל " * 20,
    "emoji": "👩‍👩‍👧‍👦 family, 🇫🇷 flag, é combining, 漢字 wide " * 20,
    "nested": "> quote\n>\n> - item\n>   ```\n>   code\n>   ```\n\n1. a\n   1. b\n      1. c\n",
    "html": "<script>alert(1)</script>\n\n<b>bold</b> &amp; more",
    "open fence": "```python\nprint(1)\n",
    "blank": "   \n\n  ",
    "controls": "a\x07b\x1b[2Jc\x9bd",
    "surrogate": "\ud83d broken".encode("utf-8", "replace").decode(),
}


@pytest.mark.parametrize("name", list(TEXTS))
@pytest.mark.parametrize("size", [(80, 24), (40, 15)])
async def test_odd_answers_stay_inside(name: str, size: tuple[int, int]) -> None:
    engine = ScriptedEngine()
    engine.script["go"] = [Text(TEXTS[name])]
    async with running(engine=engine, size=size) as it:
        await it.ask("go")
        view = it.views[1]
        assert all(line.cell_length <= view.size.width for line in view._lines)
        assert "\x1b" not in view.plain
        assert len(it.screen_text.splitlines()) <= size[1]
        await it.ask(TEXTS[name].strip() or "x")
        assert all(line.cell_length <= view.size.width for line in it.views[2]._lines)


async def test_an_answer_of_100_000_characters_does_not_hold_the_keys_up() -> None:
    engine = ScriptedEngine()
    paragraph = "Some words of an answer that is very long indeed. " * 8 + "\n\n"
    count = 100_000 // len(paragraph) + 1
    engine.script["go"] = [Text(paragraph) for _ in range(count)]
    async with running(engine=engine) as it:
        await it.ask("go")
        assert len(it.said[1]) > 100_000
        assert it.views[1].size.height > 1000
        await it.press("a", "b", "c")
        assert it.prompt.text == "abc"
        await it.press("pageup", "pageup")
        assert "very long indeed" in it.screen_text


async def test_a_long_history_is_shown_from_its_end_and_grows_upwards() -> None:
    with Chats() as chats:
        session = chats.create(title="long")
        last = None
        for n in range(500):
            last = chats.add(session.id, last, "assistant" if n % 2 else "user", f"message {n}").id
    async with running() as it:
        await it.chat.open_chat.open(session.id)
        await it.until(lambda: len(it.views) >= 40, "a window")
        await it.until(lambda: "message 499" in it.screen_text, "the end")
        assert len(it.chat.query(MessageView)) < 60
        shown = len(it.views)
        it.chat.open_chat.transcript.scroll_home(animate=False)
        await it.until(lambda: len(it.views) > shown, "more when the top is reached")
        assert it.views[0].message.content != "message 0"
        await it.ask("and now?")
        assert it.said[-1] == "You said: and now?"
        assert len(it.engine.asked[-1]["messages"]) == 500


async def test_a_chat_that_was_renamed_to_something_odd() -> None:
    async with running() as it:
        await it.ask("one")
        await it.send("/rename 👩‍👩‍👧‍👦 [bold]x[/] " + "y" * 300)
        await it.until(lambda: "[bold]x" in it.screen_text, "shown as text")
        await it.press("ctrl+s", "r")
        assert it.app.screen.query_one(Input).value.startswith("👩")


async def test_an_empty_answer() -> None:
    engine = ScriptedEngine()
    engine.script["go"] = []
    async with running(engine=engine) as it:
        await it.ask("go")
        assert it.said == ["go", ""]
        await it.ask("next")
        assert it.engine.asked[-1]["messages"] == []
