"""The app with SmolLM2: converse, stop, branch, search, quit, reopen."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from app_driver import Driver
from scripted_engine import ScriptedEngine

from edgelm_tui.app import EdgeLMApp
from edgelm_tui.engine.client import EngineClient

pytestmark = pytest.mark.real


@asynccontextmanager
async def running() -> AsyncIterator[Driver]:
    app = EdgeLMApp(EngineClient())
    try:
        async with app.run_test(size=(110, 34)) as pilot:
            it = Driver(app, pilot, ScriptedEngine())
            await it.until(lambda: app.services.state.model is not None, "loaded")
            yield it
    finally:
        app.close()


async def ask(it: Driver, text: str) -> str:
    await it.ask(text)
    return it.said[-1]


async def test_converse_stop_branch_search_quit_reopen(smollm2: Path, home: Path) -> None:
    (home / "models").mkdir(parents=True)
    shutil.copytree(smollm2, home / "models" / smollm2.name)
    async with running() as it:
        assert "5.84 bits" in it.status
        await it.send("/system Answer in one word.")
        assert "Paris" in await ask(it, "What is the capital of France?")
        assert "tok/s" in it.meter
        assert "/8.2k" in it.meter
        assert it.app.services.desk.last is not None
        first = it.app.services.desk.last.count.usage
        assert await ask(it, "And of Italy?")
        second = it.app.services.desk.last.count.usage
        assert first is not None
        assert second is not None
        assert second.cached_tokens > first.prompt_tokens - 5  # the conversation was not read again
        assert "cached" in it.meter

        await it.send("/system Tell long stories.")
        await it.send("Tell me a very long story about the sea.")
        await it.until(
            lambda: it.app.services.desk.current is not None and len(it.app.services.desk.current.text) > 40,
            "a story",
        )
        await it.press("escape")
        assert not it.app.services.desk.busy
        kept = it.app.services.chats.path(1)[-1]
        assert kept.state == "stopped"
        assert len(kept.content) > 40

        it.chat.open_chat.keep_settings(it.chat.open_chat.settings.__class__(max_tokens=12))
        await it.until(lambda: bool(it.views), "shown")
        await it.focus(-1)
        await it.press("c")
        await it.idle()
        longer = it.app.services.chats.message(kept.id).content
        assert longer.startswith(kept.content)
        assert len(longer) > len(kept.content)

        await it.press("ctrl+r")
        await it.idle()
        assert it.app.services.chats.sibling_places(1)[it.views[-1].message.id] == (2, 2)
        await it.press("ctrl+q")
    async with running() as it:
        assert [session.title for session in it.app.services.chats.sessions("italy")] == [
            "What is the capital of France?"
        ]
        await it.chat.open_chat.open(1)
        await it.until(lambda: len(it.said) == 6, "reopened")
        assert "Paris" in it.said[1]
        assert await ask(it, "Say goodbye.")
