"""The frame around all: modes, help, palette, settings, keys, themes, sizes."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from app_driver import Driver, running
from scripted_engine import ScriptedEngine
from textual.app import App
from textual.binding import Binding
from textual.command import Command, CommandList
from textual.screen import Screen
from textual.widgets import Input, Select, Static, TextArea

from edgelm.conversation.settings import ChatSettings
from edgelm.errors import EngineError, OptionError
from edgelm_tui.app import EdgeLMApp
from edgelm_tui.screens.chat.settings_dialog import ChatSettingsScreen
from edgelm_tui.screens.chat.welcome import Welcome
from edgelm_tui.screens.preferences import PreferencesScreen
from edgelm_tui.settings import AppSettings, Settings, read_settings, write_settings
from edgelm_tui.shell.dialogs.dialog import Tick
from edgelm_tui.shell.dialogs.help import HelpScreen
from edgelm_tui.shell.dialogs.slider import Slider
from edgelm_tui.shell.keys.every_key import binding_ids, bound_classes
from edgelm_tui.shell.keys.key_line import KeyLine
from edgelm_tui.shell.keys.key_names import key_name, short_key_name
from edgelm_tui.shell.keys.sentences import SENTENCES
from edgelm_tui.shell.mode_screen import ModeScreen
from edgelm_tui.shell.rows import RowList
from edgelm_tui.shell.tabs import ModeTab


def config(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    return home / "config.toml"


async def test_modes_by_key_and_by_mouse() -> None:
    async with running() as it:
        for key, mode in (("f3", "library"), ("f4", "tune"), ("f2", "chat")):
            await it.press(key)
            assert it.app.current_mode == mode
            assert it.status.startswith("tiny")
        tab = next(tab for tab in it.app.screen.query(ModeTab) if tab.mode == "library")
        await it.pilot.click(tab)
        await it.until(lambda: it.app.current_mode == "library", "changed")


async def test_every_key_has_an_id_of_its_own() -> None:
    seen: dict[str, str] = {}
    for kind in bound_classes():
        for binding in kind.__dict__["BINDINGS"]:
            assert isinstance(binding, Binding), kind
            assert binding.id, (kind, binding)
            assert binding.description, (kind, binding)
            if not binding.id.startswith(("dialog.", "slider.")):
                assert binding.id not in seen, (kind, binding.id, seen.get(binding.id))
            seen[binding.id] = kind.__name__
    assert len(binding_ids()) >= 80


async def test_a_key_can_be_changed(home: Path) -> None:
    config(home).write_text('[keys]\n"app.library" = "f12"\n"no.such" = "f11"\n')
    async with running() as it:
        await it.until(lambda: "there is no key id no.such" in it.toasts, "said")
        await it.press("f3")
        assert it.app.current_mode == "chat"
        await it.press("f12")
        assert it.app.current_mode == "library"


@pytest.mark.parametrize(
    "text", ["[app", '[app]\ntheme = "pink"\n', "[nonsense]\n", "[app]\nshoe = 4\n", "[keys]\na = 1\n"]
)
async def test_a_settings_file_that_cannot_be_used_is_kept_aside(text: str, home: Path) -> None:
    config(home).write_text(text)
    async with running() as it:
        await it.until(lambda: "config.toml is not used" in it.toasts, "said")
        assert it.app.theme == "edgelm-dark"
    assert (home / "config.toml.broken").read_text() == text
    assert not config(home).exists()


def test_settings_survive_the_way_to_the_disk(tmp_path: Path) -> None:
    settings = Settings(
        AppSettings(theme="ansi", footer=False),
        ChatSettings(system='say "hi"\n\\ é \x7f', seed=3),
        {"chat.new": "f7"},
    )
    write_settings(settings, tmp_path / "a" / "config.toml")
    assert read_settings(tmp_path / "a" / "config.toml") == (settings, None)


async def test_preferences_are_kept(home: Path) -> None:
    async with running() as it:
        await it.press("f10")
        assert isinstance(it.app.screen, PreferencesScreen)
        it.app.screen.query_one("#theme", Select).value = "high-contrast"
        it.app.screen.query_one("#footer", Tick).value = False
        it.app.screen.query_one("#paste_lines", Input).value = "many"
        await it.press("ctrl+s")
        assert "paste_lines is no number" in it.screen_text
        it.app.screen.query_one("#paste_lines", Input).value = "30"
        await it.press("ctrl+s")
        assert it.app.theme == "high-contrast"
    async with running() as it:
        assert it.app.theme == "high-contrast"
        assert "^n New" not in it.screen_text
        assert it.prompt.paste_lines == 30
        await it.press("f10")
        it.app.screen.query_one("#theme", Select).value = "ansi"
        await it.pilot.pause()
        await it.press("escape")
        assert it.app.theme == "high-contrast"


async def test_settings_of_a_chat() -> None:
    async with running() as it:
        await it.press("ctrl+o")
        screen = it.app.screen
        assert isinstance(screen, ChatSettingsScreen)
        screen.query_one("#system", TextArea).load_text("Be brief.")
        screen.query_one("#temperature", Input).value = "hot"
        await it.pilot.pause()
        assert "temperature is 'hot', expected a number" in it.screen_text
        screen.query_one("#temperature", Input).value = "-1"
        await it.press("ctrl+s")
        assert "temperature is -1.0, expected >= 0" in it.screen_text
        screen.query_one("#temperature", Input).value = "0.5"
        screen.query_one("#max_tokens", Input).value = "9"
        screen.query_one(Slider).focus()
        await it.press("left", "left")
        await it.press("ctrl+s")
        await it.ask("hello")
        asked = it.engine.asked[-1]
        assert asked["system"] == "Be brief."
        assert (asked["settings"]["temperature"], asked["settings"]["max_tokens"]) == (0.5, 9)
        assert it.app.services.chats.session(1).settings["adapter_scale"] == 0.9
        await it.press("ctrl+n")
        await it.ask("hello")
        assert it.engine.asked[-1]["system"] is None


async def test_a_persona_fills_the_settings_of_a_chat(home: Path) -> None:
    (home / "personas").mkdir(parents=True)
    (home / "personas" / "editor.json").write_text(
        '{"system": "Edit.", "greedy": true, "presence_penalty": 0.5}'
    )
    (home / "personas" / "broken.json").write_text('{"shoe": 4}')
    async with running() as it:
        await it.press("ctrl+o")
        screen = it.app.screen
        screen.query_one("#persona", Select).value = "broken"
        problem = screen.query_one("#problem", Static)
        await it.until(lambda: "broken.json: there is no setting 'shoe'" in str(problem.content), "said")
        screen.query_one("#persona", Select).value = "editor"
        await it.until(lambda: screen.query_one("#system", TextArea).text == "Edit.", "filled in")
        screen.query_one("#frequency_penalty", Input).value = "0.25"
        await it.press("ctrl+s")
        await it.ask("hello")
        asked = it.engine.asked[-1]
        assert asked["system"] == "Edit."
        names = ("temperature", "presence_penalty", "frequency_penalty")
        assert [asked["settings"][name] for name in names] == [0.0, 0.5, 0.25]


async def test_a_schema_reaches_the_model_or_is_refused() -> None:
    async with running() as it:
        await it.press("ctrl+o")
        it.app.screen.query_one("#schema", Input).value = '{"type": "object"}'
        await it.press("ctrl+s")
        await it.ask("hello")
        assert it.engine.asked[-1]["settings"]["schema"] == {"type": "object"}
        await it.press("ctrl+o")
        it.app.screen.query_one("#schema", Input).value = "/no/such/file.json"
        await it.press("ctrl+s")
        assert "error: the schema cannot be read" in it.screen_text
        await it.press("escape")
        assert it.chat.open_chat.settings.schema == '{"type": "object"}'


async def test_an_adapter_is_put_on_the_model(home: Path) -> None:
    adapter = home / "adapters" / "poet"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    async with running() as it:
        await it.press("ctrl+o")
        it.app.screen.query_one("#adapter", Select).value = str(adapter)
        await it.press("ctrl+s")
        await it.until(lambda: it.status.startswith("tiny + poet"), "loaded with it")
        await it.ask("hello")
        assert it.engine.models[-1].adapter == str(adapter)
        assert "tiny + poet" in it.views[1].plain


async def test_adapters_are_changed_and_scaled_while_the_model_lives(home: Path) -> None:
    engine = ScriptedEngine()
    for name in ("poet", "cook"):
        (home / "adapters" / name).mkdir(parents=True)
        (home / "adapters" / name / "adapter_config.json").write_text("{}")
    async with running(engine=engine) as it:
        for name, keys, expected in (
            ("poet", ("left",), {"poet": 0.95}),
            ("cook", (), {"poet": 0.0, "cook": 0.95}),
        ):
            await it.press("ctrl+o")
            it.app.screen.query_one("#adapter", Select).value = str(home / "adapters" / name)
            it.app.screen.query_one(Slider).focus()
            await it.press(*keys, "ctrl+s")
            await it.until(lambda name=name: it.status.startswith(f"tiny + {name}"), "changed")  # type: ignore[misc]
            await it.ask("hello")
            assert engine.models[0].adapters == expected
        assert len(engine.models) == 1


async def test_help_lists_the_keys_of_the_screen() -> None:
    async with running(size=(110, 60)) as it:
        await it.press("f1")
        assert isinstance(it.app.screen, HelpScreen)
        for text in ("Enter sends", "Ctrl+N", "chat.new", "Ctrl+P"):
            assert text in it.screen_text
        await it.press("end")
        await it.until(lambda: "message.delete" in it.screen_text, "scrolled")
        await it.press("escape", "f3", "question_mark")
        assert "library.hub" in it.screen_text


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
async def test_help_has_a_line_for_each_key_by_its_real_name(columns: int) -> None:
    async with running(size=(columns, 24)) as it:
        for mode in ("f2", "f3", "f4"):
            await it.press(mode, "f1")
            text = it.app.screen.query_one(".lines", Static)
            lines = str(text.content).splitlines()
            for line in [line for line in lines if "  " in line.strip()]:
                assert "_" not in line.split("  ")[0], line
                if columns >= 80:
                    assert len(line) <= text.size.width, line
            await it.press("escape")
        assert {key: key_name(key) for key in REAL_NAMES} == REAL_NAMES


REAL_NAMES = {
    "plus": "+",
    "minus": "-",
    "slash": "/",
    "equals_sign": "=",
    "left_square_bracket": "[",
    "question_mark": "?",
    "comma": ",",
    "space": "Space",
    "ctrl+n": "Ctrl+N",
    "shift+tab": "Shift+Tab",
}


def test_every_key_that_the_palette_shows_has_a_sentence() -> None:
    for kind in bound_classes():
        for binding in kind.__dict__["BINDINGS"]:
            group = binding.id.partition(".")[0]
            if group in ("app", "chat", "sessions", "library", "job", "tune") and issubclass(
                kind, ModeScreen | RowList | App
            ):
                assert binding.id in SENTENCES or binding.tooltip, binding.id
    assert all(text[0].isupper() and len(text) <= 42 for text in SENTENCES.values())


@pytest.mark.parametrize("columns", [40, 80, 200])
async def test_the_last_line_shows_whole_pairs_apart_and_stop_only_while_something_runs(columns: int) -> None:
    engine = ScriptedEngine()
    engine.pace_s = 60.0
    async with running(engine=engine, size=(columns, 24)) as it:
        line = it.app.screen.query_one(KeyLine)

        def last() -> str:
            return it.screen_text.splitlines()[-1]

        await it.until(lambda: "F1 Help" in last(), "shown")
        assert "Stop" not in last()
        for key, text in line.pairs():
            assert f"{short_key_name(key)} {text}" in last()
        assert all(len(pair.split()) >= 2 for pair in last().strip().split("   "))
        engine.gate.clear()
        await it.send("go")
        await it.until(lambda: "Esc Stop" in last(), "Esc stops")
        engine.gate.set()
        await it.idle()
        await it.until(lambda: "Esc Stop" not in last(), "nothing to stop")
        await it.focus(1)
        await it.until(lambda: last().startswith(" y Copy"), "the keys of what has the focus come first")


async def test_toasts_come_once_at_the_top_and_harmless_ones_are_no_errors() -> None:
    async with running(size=(80, 24)) as it:
        for _ in range(3):
            it.app.notify("the same")
        await it.until(lambda: "the same" in it.toasts, "said")
        assert it.toasts.count("the same") == 1
        with it.app.services.notices.reporting():
            raise OptionError("no such thing", hint="another")
        with it.app.services.notices.reporting():
            raise EngineError("it broke")
        await it.until(lambda: "it broke" in it.toasts, "said too")
        said = {note.message: (note.title, note.severity) for note in it.app._notifications}
        assert said["no such thing\nhint: another"] == ("", "warning")
        assert said["it broke"] == ("Error", "error")
        await it.until(lambda: len(it.app.screen.query("Toast")) == 3, "shown")
        for toast in it.app.screen.query("Toast"):
            assert toast.region.bottom < it.prompt.region.y
            assert toast.region.right >= 78


async def test_plain_keys_beside_the_function_keys() -> None:
    """Terminal.app gives F-keys only with fn, and keeps PageUp for itself."""
    async with running(size=(80, 24)) as it:
        for mode in ("library", "tune", "chat"):
            await it.press("ctrl+t")
            assert it.app.current_mode == mode
        for _ in range(6):
            await it.ask("a\n" * 8)
        bottom = it.chat.open_chat.transcript.scroll_y
        await it.press("ctrl+u")
        await it.until(lambda: it.chat.open_chat.transcript.scroll_y < bottom, "scrolled up")
        await it.press("ctrl+d")
        await it.until(lambda: it.chat.open_chat.transcript.scroll_y >= bottom, "and down")
        await it.write("text")
        await it.press("ctrl+u")
        assert it.prompt.text == ""


def first_hit(it: Driver) -> str:
    """What Enter would do in the palette; "" where nothing is found yet."""
    listed = it.app.screen.query(CommandList)
    options = listed.first().options if listed else ()
    hit = options[0].hit if options and isinstance(options[0], Command) else None
    return str(hit.text) if hit is not None and listed.first().highlighted == 0 else ""


async def test_the_palette_runs_actions() -> None:
    async with running() as it:
        await it.press("ctrl+p")
        await it.press(*"go to library")
        await it.until(lambda: first_hit(it) == "Go to the library", "found")
        await it.press("enter")
        await it.until(lambda: it.app.current_mode == "library", "there")
        await it.press("ctrl+p")
        await it.press(*"colours high")
        await it.until(lambda: first_hit(it) == "Use the colours high-contrast", "found")
        await it.press("enter")
        await it.until(lambda: it.app.theme == "high-contrast", "changed")


@pytest.mark.parametrize("columns", [60, 200])
async def test_the_palette_is_80_columns_wide_at_most(columns: int) -> None:
    async with running(size=(columns, 24)) as it:
        await it.press("ctrl+p")
        await it.until(lambda: first_hit(it) != "", "listed")
        for part in (it.app.screen.query_one("#--input"), it.app.screen.query_one(CommandList)):
            await it.until(lambda part=part: part.region.width > 0, "shown")  # type: ignore[misc]
            assert part.region.width == min(columns, 80)
            assert abs(part.region.x - (columns - part.region.right)) <= 1  # in the middle


async def test_an_empty_library_offers_the_demo_and_the_hub() -> None:
    async with running([]) as it:
        await it.until(lambda: it.chat.query_one(Welcome).display, "offered")
        assert "No model is installed yet" in it.screen_text
        await it.press(*"hello there", "enter", "space", "enter")
        assert it.prompt.text.startswith("hello there")
        assert not it.app.services.jobs.jobs  # what is typed presses no button
        await it.press("shift+tab", "shift+tab", "enter")
        await it.until(lambda: bool(it.app.services.jobs.jobs), "a job")
        assert it.app.services.jobs.jobs[0].settings == {"source": "smollm2"}
        await it.until(lambda: it.app.services.jobs.jobs[0].state == "done", "done")
        await it.pilot.click("#hub")
        await it.until(lambda: it.app.current_mode == "library", "in the library")


async def test_the_last_chat_is_there_after_a_restart() -> None:
    async with running() as it:
        await it.ask("one")
        await it.press("ctrl+n")
        await it.ask("two")
    async with running() as it:
        await it.until(lambda: it.said == ["two", "You said: two"], "shown")
        assert it.prompt.has_focus
        await it.ask("three")
        assert len(it.said) == 4


async def test_the_prompt_has_the_focus_when_the_first_model_has_come() -> None:
    names: list[str] = []
    async with running(names) as it:
        await it.until(lambda: it.chat.query_one(Welcome).display, "offered")
        names.append("tiny")
        it.app.services.engine._list_models = lambda: names
        it.app.services.engine.look()
        await it.until(lambda: it.app.services.state.model is not None, "loaded")
        await it.press("h", "i", "enter")
        await it.idle()
        assert it.said[0] == "hi"


@pytest.mark.parametrize("size", [(80, 24), (60, 15), (200, 60)])
async def test_every_mode_fits(size: tuple[int, int]) -> None:
    async with running(size=size) as it:
        await it.ask("hello")
        assert it.prompt.region.bottom <= size[1]
        for key in ("f3", "f4", "f2"):
            await it.press(key)
            lines = it.screen_text.splitlines()
            assert len(lines) <= size[1]
            assert "Library" in lines[0]


@pytest.mark.slow
def test_the_first_frame_needs_no_engine() -> None:
    code = (
        "import asyncio, json, sys; from edgelm_tui.app import EdgeLMApp\n"
        "async def main():\n"
        "    app = EdgeLMApp()\n"
        "    seen = []\n"
        "    app._begin = lambda: seen.append([n for n in ('mlx', 'mlx_lm', 'transformers', 'huggingface_hub', 'numpy')"
        " if n in sys.modules])\n"
        "    async with app.run_test() as pilot:\n"
        "        while not seen: await pilot.pause(0.01)\n"
        "    print(json.dumps(seen[0]))\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_every_key_has_an_action() -> None:
    for kind in bound_classes():
        for binding in kind.__dict__["BINDINGS"]:
            assert isinstance(binding, Binding)
            name = binding.action.partition("(")[0].rpartition(".")[2]
            found = [owner for owner in (kind, EdgeLMApp, Screen) if hasattr(owner, f"action_{name}")]
            assert found, (kind.__name__, binding.id, binding.action)


async def test_garbage_is_collected_from_the_first_frame_on() -> None:
    gc.disable()  # as the command line does before it imports the app
    try:
        async with running():
            assert gc.isenabled()
            assert gc.get_freeze_count() > 0
    finally:
        gc.enable()
        gc.unfreeze()
