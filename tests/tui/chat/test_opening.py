"""What stands on the screen before the first message, and what says how a chat is set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from app_driver import running
from saved_chats import talk
from scripted_engine import ScriptedEngine
from textual.widgets import Input

from edgelm.conversation.question import checked_schema
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import EdgeLMError
from edgelm.runtime.events import Text
from edgelm.store.chats import Chats
from edgelm_tui.markdown.render import PROSE
from edgelm_tui.screens.chat.opening import ChatOpening, RecentChat
from edgelm_tui.screens.chat.settings_dialog import ChatSettingsScreen

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


async def test_an_empty_chat_shows_model_chats_and_keys() -> None:
    with Chats() as chats:
        for n in range(7):
            chats.rename(talk(chats, f"q{n}", "a"), f"chat {n} [/x]")
    async with running(size=(80, 24)) as it:
        await it.until(lambda: it.said == ["q6", "a"], "the last chat is there")
        await it.press("ctrl+n")
        await it.until(lambda: "tiny · 8,192 tokens of context" in it.screen_text, "the model")
        assert [f"chat {n} [/x]" in it.screen_text for n in range(7)] == [False, False, *[True] * 5]
        for key in ("Enter sends", "^S all chats", "^L models", "F1 help"):
            assert key in it.screen_text
        await it.pilot.click(it.chat.query(RecentChat).first())
        await it.until(lambda: it.said == ["q6", "a"], "opened")
        assert not it.chat.query_one(ChatOpening).display
        assert it.app.focused is it.prompt
        await it.press("ctrl+n")
        await it.until(lambda: it.chat.query_one(ChatOpening).display, "again")
        await it.ask("hello")
        assert not it.chat.query_one(ChatOpening).display


async def test_a_new_user_sees_no_list_of_chats() -> None:
    async with running() as it:
        await it.until(lambda: it.chat.query_one(ChatOpening).display, "shown")
        assert not it.chat.query(RecentChat)


async def test_the_prompt_says_how_the_chat_is_set() -> None:
    async with running(size=(110, 30)) as it:
        assert ChatSettings().summary() == ""
        await it.send("/system Be [/brief].")
        await it.until(lambda: " system prompt " in it.screen_text, "said")
        it.chat.open_chat.keep_settings(
            ChatSettings(
                system="x", temperature=0.0, seed=0, schema="{}", adapter="/a/poet [x]", adapter_scale=0.5
            )
        )
        line = "system prompt · schema · adapter poet [x] × 0.5 · temperature 0 · seed 0"
        await it.until(lambda: line in it.screen_text, "said")
        await it.press("ctrl+n")
        await it.until(lambda: line not in it.screen_text, "of the other chat")


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        "[1]",
        '{"type": "objekt"}',
        '{"typo": 1}',
        "/nowhere/schema.json",
        '{"$ref": "#/nowhere"}',
        "true",
    ],
)
async def test_a_wrong_schema_is_not_taken(schema: str) -> None:
    async with running() as it:
        await it.press("ctrl+o")
        screen = it.app.screen
        assert isinstance(screen, ChatSettingsScreen)
        screen.query_one("#schema", Input).value = schema
        await it.press("ctrl+s")
        assert it.app.screen is screen
        assert str(screen.query_one("#problem").content)  # type: ignore[attr-defined]
        screen.query_one("#schema", Input).value = json.dumps(SCHEMA)
        await it.press("ctrl+s")
        await it.until(lambda: it.app.screen is it.chat, "taken")
        assert json.loads(it.chat.open_chat.settings.schema) == SCHEMA


def test_a_schema_is_kept_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my schema.json").write_text(json.dumps(SCHEMA))
    monkeypatch.chdir(tmp_path)
    for said in ("my schema.json", "'my schema.json'", "./my\\ schema.json"):
        assert Path(checked_schema(said)).resolve() == (tmp_path / "my schema.json").resolve()
    assert checked_schema("  ") == ""
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(EdgeLMError):
        checked_schema("bad.json")


async def test_what_failed_waits_for_nothing() -> None:
    engine = ScriptedEngine()
    async with running(engine=engine) as it:
        it.chat.open_chat.keep_settings(ChatSettings(schema="/nowhere/schema.json"))
        await it.ask("one")
        assert "schema cannot be read" in it.views[-1].plain
        await it.until(lambda: it.meter.startswith("failed"), "said")
        assert "waiting" not in it.screen_text


async def test_prose_is_no_wider_than_can_be_read() -> None:
    engine = ScriptedEngine()
    wide = "| " + " | ".join(f"column {n:02} of many" for n in range(9)) + " |"
    text = (
        "word " * 100
        + "\n\n- "
        + "item " * 60
        + f"\n\n{wide}\n{'|---' * 9}|\n{wide}\n\n```\n{'x' * 150}\n```\n"
    )
    engine.script["go"] = [Text(text)]
    async with running(engine=engine, size=(200, 40)) as it:
        it.chat.query_one("#sidebar").remove_class("open")
        await it.ask("go")
        await it.ask("many words " * 60)
        lines = [line.plain.rstrip() for view in it.views for line in view._lines]
        prose = [line for line in lines if "word" in line or "item" in line]
        assert 90 < max(len(line) for line in prose) <= PROSE <= 110
        assert any(len(line) > 150 for line in lines if "column" in line)
        assert any("x" * 150 in line for line in lines)
