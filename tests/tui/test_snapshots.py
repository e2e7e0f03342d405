"""Pictures of every screen in two themes and two sizes. `pytest --snapshot-update` makes them anew: look at them then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from app_driver import MEMORY, fake_job_command
from furniture import DONE, install, install_adapter, steps, write_run
from scripted_engine import ScriptedEngine
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from edgelm import paths
from edgelm.store.chats import Chats
from edgelm_tui.app import EdgeLMApp
from edgelm_tui.engine.client import EngineClient
from edgelm_tui.engine.events import FitKnown
from edgelm_tui.jobs.manager import JobManager
from edgelm_tui.settings import AppSettings, Settings, settings_file, write_settings

ANSWER = """\
Here is **what** you asked for:

1. a list
2. of two items

```python
def add(a: int, b: int) -> int:
    return a + b
```

| name | size |
|------|------|
| tiny | 1 GB |

Inline maths $a_1 + b_1$ stays as it is."""
SIZES = {"narrow": (80, 24), "wide": (120, 36)}
THEMES = ("edgelm-dark", "edgelm-light")
Steps = Callable[[Pilot[None]], Awaitable[None]]


def write_chat() -> None:
    """One conversation, with branches, a rating, thinking and a cut answer."""
    with Chats(paths.database()) as chats:
        session = chats.create(model="tiny", title="A list, code and a table")
        question = chats.add(session.id, None, "user", "Show me what you can do.")
        chats.add(session.id, question.id, "assistant", "Another answer.", model="tiny")
        answer = chats.add(
            session.id, question.id, "assistant", ANSWER, model="tiny", thinking="Let me think."
        )
        chats.rate(answer.id, 1)
        more = chats.add(session.id, answer.id, "user", "Go on.")
        chats.add(session.id, more.id, "assistant", "Once upon a time", model="tiny", state="stopped")
        chats.set_draft(session.id, "half a thought")


async def settle(pilot: Pilot[None], is_so: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_so():
            break
        await pilot.pause(0.02)
    await pilot.pause(0.2)


def made(home: Path, theme: str, names: tuple[str, ...] = ("tiny",)) -> EdgeLMApp:
    write_settings(Settings(AppSettings(theme=theme)), settings_file())
    engine = ScriptedEngine()
    price = FitKnown("tiny", "fits", "1 GB of 8 GB with 4,096 tokens of context")
    app = EdgeLMApp(
        EngineClient(engine.load, lambda: list(names), lambda _: price),
        JobManager(fake_job_command),
        None,
        MEMORY,
    )
    app.animation_level = "none"
    return app


async def begun(pilot: Pilot[None], *, empty: bool = False) -> EdgeLMApp:
    app = pilot.app
    assert isinstance(app, EdgeLMApp)
    await settle(
        pilot,
        lambda: (
            app.services.chat is not None
            and app.services.state.is_listed
            and (empty or app.services.state.model is not None)
        ),
    )
    chat = app.services.chat
    assert chat is not None
    await still(pilot)
    return app


async def chat(pilot: Pilot[None]) -> None:
    app = await begun(pilot)
    await settle(pilot, lambda: len(app.services.chat.open_chat.transcript.views) == 4)  # type: ignore[union-attr]


async def message(pilot: Pilot[None]) -> None:
    await chat(pilot)
    view = pilot.app.services.chat.open_chat.transcript.views[1]  # type: ignore[attr-defined]
    view.focus()
    await pilot.press("t")


async def still(pilot: Pilot[None]) -> None:
    """Cursors that blink are shown, and stay so."""
    pilot.app.animation_level = "none"
    for screen in pilot.app.screen_stack:
        for widget in screen.query("Input, TextArea"):
            widget.cursor_blink = False  # type: ignore[attr-defined]
            widget._pause_blink(visible=True)  # type: ignore[attr-defined]
            widget.refresh()
    await pilot.pause(0.1)


async def keys_then(pilot: Pilot[None], *keys: str) -> None:
    await chat(pilot)
    await pilot.press(*keys)
    await pilot.pause(0.4)
    await still(pilot)


async def library(pilot: Pilot[None]) -> None:
    app = await begun(pilot)
    await pilot.press("f3")
    await settle(pilot, lambda: bool(getattr(app.screen, "_fits", None)) and len(app.screen._shown) == 2)  # type: ignore[attr-defined]
    await pilot.press("down")


async def tune(pilot: Pilot[None]) -> None:
    app = await begun(pilot)
    await pilot.press("f4")
    await settle(pilot, lambda: len(getattr(app.screen, "_logs", [])) == 2)
    await pilot.press("m", "down", "m")


async def welcome(pilot: Pilot[None]) -> None:
    await begun(pilot, empty=True)


SCREENS: dict[str, Steps] = {
    "chat": chat,
    "message": message,
    "sessions": lambda pilot: keys_then(pilot, "ctrl+s"),
    "settings": lambda pilot: keys_then(pilot, "ctrl+o"),
    "models": lambda pilot: keys_then(pilot, "ctrl+l"),
    "help": lambda pilot: keys_then(pilot, "f1"),
    "preferences": lambda pilot: keys_then(pilot, "f10"),
    "editor": lambda pilot: keys_then(pilot, "shift+tab", "w"),
    "library": library,
    "hub": lambda pilot: keys_then(pilot, "f3", "h"),
    "tune": tune,
    "new-run": lambda pilot: keys_then(pilot, "f4", "n"),
    "welcome": welcome,
}


@pytest.fixture
def _furnished(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chats, a model, an adapter and two runs; a home whose path is always the same."""
    monkeypatch.setattr("edgelm_tui.screens.library.details.with_tilde", lambda path: f"~/edgelm/{path.name}")
    monkeypatch.setattr("edgelm_tui.screens.preferences.settings_file", lambda: Path("~/edgelm/config.toml"))
    monkeypatch.setattr("edgelm_tui.screens.library.screen.ago", lambda *_: "2 h ago")
    monkeypatch.setattr("edgelm_tui.screens.library.details.ago", lambda *_: "2 h ago")
    for kind, blink in ((TextArea, "_toggle_cursor_blink_visible"), (Input, "_toggle_cursor")):
        monkeypatch.setattr(kind, blink, lambda self: None)
    install(home, created="2026-01-01T00:00:00+00:00")
    install_adapter(home, "poet", "tiny")
    write_run(home, "one", [*steps(50), DONE])
    write_run(home, "two", [*steps(50, 2.0), DONE])
    for at, name in enumerate(("one", "two")):
        os.utime(home / "runs" / name / "config.json", (at, at))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("screen", list(SCREENS))
@pytest.mark.usefixtures("_furnished")
def test_screen(screen: str, size: str, theme: str, home: Path, snap_compare: Callable[..., bool]) -> None:
    """Each screen shows what it showed when its picture was looked at."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    if screen != "welcome":
        write_chat()
    app = made(home, theme, () if screen == "welcome" else ("tiny",))
    try:
        assert snap_compare(app, terminal_size=SIZES[size], run_before=SCREENS[screen])
    finally:
        app.close()


def test_the_pictures_name_no_path_of_a_machine() -> None:
    folder = Path(__file__).with_name("__snapshots__")
    for picture in folder.rglob("*.raw"):
        text = picture.read_text(encoding="utf-8")
        assert "/home/" not in text
        assert "/tmp/" not in text
