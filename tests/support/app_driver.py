"""Runs the app under a pilot, over a scripted engine and a home of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripted_engine import ScriptedEngine
from textual.pilot import Pilot
from textual.widgets import Static
from waiting import PATIENCE_S

from edgelm.machine.memory import Memory
from edgelm_tui.app import EdgeLMApp
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine.events import FitKnown
from edgelm_tui.jobs.manager import JobManager
from edgelm_tui.screens.chat.prompt.prompt import ChatPrompt
from edgelm_tui.screens.chat.screen import ChatScreen
from edgelm_tui.screens.chat.transcript.view import MessageView

FAKE_JOB = Path(__file__).with_name("fake_job.py")
MEMORY = Memory(17_000_000_000, 9_000_000_000)


@dataclass
class Driver:
    """A running app."""

    app: EdgeLMApp
    pilot: Pilot[None]
    engine: ScriptedEngine

    @property
    def chat(self) -> ChatScreen:
        screen = self.app.services.chat
        assert isinstance(screen, ChatScreen)
        return screen

    @property
    def prompt(self) -> ChatPrompt:
        return self.chat.open_chat.prompt

    @property
    def views(self) -> list[MessageView]:
        return self.chat.open_chat.transcript.views

    @property
    def said(self) -> list[str]:
        """What each message says, without who says it."""
        return [view.message.content for view in self.views]

    @property
    def screen_text(self) -> str:
        """All that is on the screen."""
        width = self.app.size.width
        lines = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip)[:width].rstrip() for strip in lines)

    @property
    def meter(self) -> str:
        return str(self.chat.query_one("#meter", Static).content)

    @property
    def status(self) -> str:
        return str(self.app.screen.query_one("#status", Static).content)

    @property
    def toasts(self) -> str:
        return "\n".join(note.message for note in self.app._notifications)

    async def until(self, is_so: Callable[[], bool], what: str = "it happened") -> None:
        """Let the app run until `is_so`."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if is_so():
                await self.pilot.pause()
                return
            await self.pilot.pause(0.01)
        pytest.fail(f"never: {what}; messages {self.said}, toasts {self.toasts!r}\n{self.screen_text}")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def write(self, text: str) -> None:
        """Type into the prompt."""
        self.prompt.focus()
        self.prompt.insert(text)
        await self.pilot.pause()

    async def send(self, text: str) -> None:
        """Type and press Enter; does not wait for the answer."""
        await self.write(text)
        await self.press("enter")

    async def ask(self, text: str) -> None:
        """Send, and wait for the end of the answer."""
        await self.send(text)
        await self.idle()

    async def idle(self) -> None:
        """Until no answer is under way and all is written down."""
        await self.until(
            lambda: not self.app.services.desk.busy and not self.app.services.desk._unfinished, "idle"
        )

    async def focus(self, at: int) -> MessageView:
        """Put the focus on a message."""
        await self.until(lambda: len(self.views) > at, f"message {at}")
        view = self.views[at]
        view.focus()
        await self.pilot.pause()
        return view


def fake_job_command(kind: str, settings: dict[str, Any]) -> list[str]:
    """The job's source says how its process behaves; see `fake_job.py`."""
    return [sys.executable, str(FAKE_JOB), kind, str(settings.get("source") or "quick")]


@asynccontextmanager
async def running(
    names: Sequence[str] = ("tiny",),
    *,
    engine: ScriptedEngine | None = None,
    size: tuple[int, int] = (110, 34),
    database: Path | None = None,
    colours: str | None = None,
) -> AsyncIterator[Driver]:
    """The app over a library of `names`; the first model is loaded when the block begins, if there is just one."""
    scripted = engine or ScriptedEngine()
    installed = list(names)

    def price(name: str) -> FitKnown:
        return FitKnown(name, "fits", "1 GB of 8 GB with 4,096 tokens of context")

    client = EngineClient(scripted.load, lambda: list(installed), price)
    app = EdgeLMApp(client, JobManager(fake_job_command), database, MEMORY, colours)
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            driver = Driver(app, pilot, scripted)
            await driver.until(
                lambda: app.services.chat is not None and app.services.state.is_listed, "started"
            )
            if len(names) == 1 and scripted.loading.is_set() and names[0] not in ("missing", "huge"):
                await driver.until(lambda: app.services.state.model is not None, "loaded")
            yield driver
    finally:
        scripted.gate.set()
        scripted.loading.set()
        app.close()
