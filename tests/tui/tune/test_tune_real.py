"""The Tune screen over `edgelm tune` itself, and an adapter's scale over the real engine: a tiny model, no script."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from app_driver import Driver
from checkpoints import write_checkpoint
from scripted_engine import ScriptedEngine
from textual.widgets import DataTable, Input
from tuning import write_chats

from edgelm import paths
from edgelm_tui.app import EdgeLMApp
from edgelm_tui.jobs.child import main as do_job
from edgelm_tui.screens.tune.new_run_form import edgelm_command
from edgelm_tui.screens.tune.screen import TuneScreen
from edgelm_tui.screens.tune.versus import VersusScreen
from edgelm_tui.shell.dialogs.slider import Slider

SIZE = (130, 40)
TRAIN = [
    *(
        "--method",
        "lora",
        "--rank",
        "4",
        "--batch-tokens",
        "128",
        "--learning-rate",
        "0.05",
        "--no-fit-check",
    ),
    *("--answer-tokens", "0", "--validate-every", "10", "--checkpoint-every", "5", "--json"),
]


@pytest.fixture
def model(home: Path) -> str:
    """A tiny model in the library."""
    write_checkpoint(home / "models" / "tiny", num_hidden_layers=2)
    return "tiny"


@asynccontextmanager
async def running() -> AsyncIterator[Driver]:
    app = EdgeLMApp()
    try:
        async with app.run_test(size=SIZE) as pilot:
            it = Driver(app, pilot, ScriptedEngine())
            await it.until(lambda: app.services.state.model is not None, "loaded")
            yield it
    finally:
        app.close()


@pytest.mark.fault
async def test_a_run_is_trained_killed_resumed_stopped_and_talked_to(model: str, home: Path) -> None:
    data = write_chats(home / "rows.jsonl")
    async with running() as it:
        await it.press("f4")
        screen = it.app.screen
        assert isinstance(screen, TuneScreen)
        await it.until(lambda: screen.is_mounted and screen.query_one(DataTable).has_focus, "shown")
        named = ["--name", "one", "--steps", "4000", *TRAIN]
        screen.begin_run(edgelm_command("tune", model, "--data", str(data), *named))

        def step() -> int:
            return int(screen.chosen.step.get("step") or 0) if screen.chosen else 0

        await it.until(lambda: step() > 12, "trains")
        assert screen.chosen is not None
        assert "4,000" in it.screen_text
        assert len(screen.chosen.curves["loss"]) > 10
        await it.press("space")
        await it.until(lambda: screen.chosen is not None and screen.chosen.status() == "paused", "paused")
        await it.press("space")
        await it.until(lambda: screen.chosen is not None and screen.chosen.status() == "running", "goes on")
        before = step()
        await it.press("c")
        await it.until(lambda: step() > before, "after a checkpoint")

        assert screen.child is not None
        os.killpg(screen.child.pid, signal.SIGKILL)
        await it.until(lambda: "ended with signal 9" in it.toasts, "its death is said")
        await it.until(lambda: "r resumes the run" in it.screen_text, "how to go on is said")
        killed_at = step()
        await it.press("r")
        await it.until(lambda: step() > killed_at, "goes on from its checkpoint")
        steps = [at for at, _ in screen.chosen.curves["loss"]]
        assert steps == sorted(set(steps))
        await it.press("s", "y")
        await it.until(lambda: screen.chosen is not None and screen.chosen.status() == "stopped", "stopped")
        await it.until(lambda: screen.child is None, "ended")

        assert screen.chosen.adapter is not None
        await it.press("v")
        assert isinstance(it.app.screen, VersusScreen)
        versus = it.app.screen
        versus.query_one(Input).value = "what is 3"
        await it.press("enter")
        await it.until(lambda: "done; Enter asks again" in it.screen_text, "both have answered")
        base, adapted = versus._texts
        assert base != adapted
        await it.press("escape")
        await it.press("enter")
        await it.until(
            lambda: it.app.services.state.model is not None and bool(it.app.services.state.model.adapter),
            "in the chat",
        )
        await it.ask("what is 3")
        assert it.said[-1].strip() == adapted.strip()


async def test_the_scale_of_an_adapter_is_changed_without_loading_again(
    model: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgelm.tune.api import tune

    adapter = tune(model, write_chats(home / "rows.jsonl"), name="poet", rank=4, learning_rate=0.05, steps=40,
                   answer_tokens=0, check_fit=False).adapter  # fmt: skip
    async with running() as it:
        loads = []
        load, it.app.services.engine._load_model = (
            it.app.services.engine._load_model,
            lambda *a, **k: loads.append(a) or load(*a, **k),
        )
        it.chat.open_chat.keep_settings(it.chat.open_chat.settings.__class__(max_tokens=12))
        await it.ask("what is 3")
        plain = it.said[-1]
        it.chat.open_chat.keep_settings(
            it.chat.open_chat.settings.__class__(max_tokens=12, adapter=str(adapter))
        )
        await it.until(
            lambda: it.app.services.state.model is not None and bool(it.app.services.state.model.adapter),
            "put on",
        )
        assert not loads
        await it.press("ctrl+r")
        await it.idle()
        await it.until(lambda: it.said[-1] not in ("", plain), "answered with the adapter")

        await it.idle()
        await it.press("ctrl+o")
        await it.until(lambda: bool(it.app.screen.query(Slider)), "the dialog is there")
        slider = it.app.screen.query_one(Slider)
        slider.focus()
        await it.press("home", "ctrl+s")
        await it.until(lambda: it.chat.open_chat.settings.adapter_scale == 0, "kept")
        await it.until(lambda: it.app.screen is it.chat, "the dialog is gone")
        await it.press("ctrl+r")
        await it.until(lambda: it.said[-1] == plain, "answered without: an adapter at 0 is none")
        assert not loads

    exported = home / "poet-peft"
    assert (
        do_job(["peft", json.dumps({"adapter": str(adapter), "model": model, "output": str(exported)})]) == 0
    )
    assert (exported / "adapter_model.safetensors").is_file()
    fused = paths.models() / "fused"
    said = {"adapter": str(adapter), "model": model, "output": str(fused), "keep_dense": True}
    assert do_job(["fuse", json.dumps(said)]) == 0
    assert (fused / "config.json").is_file()
    events = [
        json.loads(line)["event"] for line in capsys.readouterr().out.splitlines() if line.startswith("{")
    ]
    assert events.count("done") == 2
