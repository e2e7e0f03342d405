"""Logs, receipts and settings that other programs and people have written: odd values are left out, nothing ends the app."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from app_driver import running
from furniture import DONE, install, install_adapter, steps, write_run
from rich.segment import Segment
from scripted_engine import ScriptedEngine
from textual.color import Color
from textual.widgets import DataTable

from edgelm.errors import EngineError
from edgelm.runs.event_lines import read_event
from edgelm.runs.log import RunLog
from edgelm_tui.screens.library.entries import read_entries
from edgelm_tui.screens.library.screen import LibraryScreen, place_of
from edgelm_tui.screens.tune.panel import describe
from edgelm_tui.settings import read_settings, settings_file
from edgelm_tui.shell.text.no_controls import NoControls

ODD: tuple[Any, ...] = (
    "x",
    3,
    [],
    {},
    None,
    True,
    1.5,
    [1],
    {"a": 1},
    -1,
    math.nan,
    math.inf,
    "9" * 30,
    10**400,
)
FIELDS = {
    "started": ("model", "method", "step", "rows", "validation_rows", "notes", "total_steps", "predicted_s", "pad_share"),
    "stepped": (
        "step", "total_steps", "loss", "smoothed", "eta_s", "learning_rate", "tokens_per_s", "memory_bytes"
    ),
    "validated": ("step", "loss", "best_step", "answers"),
    "paused": ("reason", "step"),
    "checkpointed": ("step",),
    "ended": ("reason", "step", "adapter", "elapsed_s"),
}  # fmt: skip
STEERING = "a\x1b[31mb\x9bc\x07d"


@pytest.mark.parametrize("event", FIELDS)
def test_a_log_with_odd_values_is_a_line_in_a_list(event: str, home: Path) -> None:
    for at, odd in enumerate(ODD):
        for name in FIELDS[event]:
            said = {"event": event, "step": 3, "loss": 1.0, "smoothed": 1.0, name: odd}
            log = RunLog(write_run(home, f"{at}-{name}", [*steps(3), said]))
            assert log.read_on()
            assert describe(log).plain
            points = [number for curve in log.curves.values() for point in curve for number in point]
            assert all(map(math.isfinite, points))
            assert log.adapter is None or isinstance(log.adapter, str)


def test_a_loss_that_is_no_number_any_more_is_shown(home: Path) -> None:
    log = RunLog(
        write_run(
            home, "away", [*steps(2), {"event": "stepped", "step": 3, "loss": math.nan, "smoothed": math.nan}]
        )
    )
    log.read_on()
    assert log.loss is not None
    assert math.isnan(log.loss)
    assert "loss nan" in describe(log).plain
    assert len(log.curves["loss"]) == 2
    assert read_event(b"[" * 100_000) is None


async def test_a_run_that_diverged_is_drawn(home: Path) -> None:
    write_run(
        home,
        "away",
        [*steps(9), {"event": "stepped", "step": 10, "loss": math.inf, "smoothed": math.nan}, DONE],
    )
    async with running(size=(120, 36)) as it:
        await it.press("f4", "l")
        await it.until(lambda: "away" in it.screen_text and "nan" in it.screen_text, "shown")


@pytest.mark.slow
def test_receipts_with_odd_values(home: Path) -> None:
    for at, odd in enumerate(ODD[:-1]):
        for name in ("source", "licence", "bits_per_weight", "receipt", "created", "recipe", "revision"):
            install(home, f"{name}-{at}", **{name: odd})
        for name in ("comparison", "tensors", "tokenizer", "elapsed_s", "skipped", "peak_memory_bytes"):
            install(home, f"r-{name}-{at}", receipt={"elapsed_s": 1.0, name: odd})
        install(home, f"kl-{at}", receipt={"comparison": {"mean_kl": odd}})
        adapter = install_adapter(home, f"a-{at}", "tiny")
        (adapter / "adapter_config.json").write_text(
            json.dumps({"lora_parameters": {"keys": odd}, "model": odd})
        )
    entries = read_entries()
    assert len(entries) == 15 * (len(ODD) - 1)
    for entry in entries:
        assert isinstance(entry.source + entry.licence + entry.created + entry.loss, str)
        assert entry.bits is None or f"{entry.bits:.3g}"


@pytest.mark.parametrize(
    "text",
    [
        "[app]\ntheme = 3\n", "[app]\npaste_lines = 'x'\n", "[app]\nfooter = 'no'\n", "[chat]\ntemperature = nan\n",
        "[chat]\ntemperature = inf\n", "[chat]\ntop_k = 1.5\n", "[chat]\nseed = true\n", "[chat]\nsystem = 3\n",
        "[chat]\nadapter_scale = nan\n", "app = 3\n", "keys = 3\n", "chat = []\n", "[keys]\nx = 3\n", "\x00", "[app",
        "[x]\n",
    ],
)  # fmt: skip
def test_settings_that_are_wrong_are_kept_aside(text: str, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    settings_file().write_text(text)
    settings, problem = read_settings(settings_file())
    assert problem is not None
    assert "is not used" in problem
    assert settings.chat.value("temperature") is None
    assert settings_file().with_name("config.toml.broken").read_text() == text


async def test_nothing_that_is_shown_steers_the_terminal() -> None:
    engine = ScriptedEngine()
    engine.script["f"] = [EngineError(STEERING, hint=STEERING)]
    async with running(engine=engine, size=(140, 40)) as it:
        await it.ask(f"x {STEERING}")
        await it.ask("f")
        it.app.services.notices.report(STEERING, STEERING)
        await it.send(f"/rename {STEERING}")
        await it.write(STEERING)
        await it.press("ctrl+s")
        await it.until(lambda: "● a[31mbcd" in it.screen_text, "the title")
        assert not {"\x1b", "\x9b", "\x07"} & set(it.screen_text)


def test_controls_have_no_width_and_go() -> None:
    segments = NoControls().apply([Segment("a\x1b]0;t\x07b\x85c"), Segment("plain")], Color(0, 0, 0))
    assert [segment.text for segment in segments] == ["a]0;tbc", "plain"]
    assert Segment("a\x1b]0;t\x07b\x85c").cell_length == segments[0].cell_length


async def test_the_cursor_stays_on_what_it_was_on(home: Path) -> None:
    for name in ("a", "b", "c"):
        install(home, name)
    install_adapter(home, "b", "a")
    async with running(["a", "b", "c"], size=(120, 36)) as it:
        await it.press("escape", "f3")
        screen = it.app.screen
        assert isinstance(screen, LibraryScreen)
        await it.until(lambda: len(screen._shown) == 4, "listed")
        table = screen.query_one(DataTable)
        keys = [entry.key for entry in screen._shown]
        for key in keys:  # a model and an adapter have the same name
            table.move_cursor(row=keys.index(key))
            screen._show()
            assert screen.chosen is not None
            assert screen.chosen.key == key
        table.move_cursor(row=2)
        screen._take_entries([entry for entry in screen._entries if entry.key != keys[2]])
        assert table.cursor_row == 2  # its neighbour, not the first
        assert place_of(None, screen._shown, 9) == 2
        screen.action_again()
        await it.until(lambda: len(screen._shown) == 4, "read again")
