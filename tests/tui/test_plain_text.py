"""Text that is not ours is shown to the letter: nothing that a user, a model or a file says is read as markup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from app_driver import running
from furniture import DONE, install, install_adapter, steps, write_run
from rich.text import Text
from saved_chats import talk
from scripted_engine import ScriptedEngine
from textual.content import Content
from textual.widgets import Select

from edgelm.cli.show.output import console
from edgelm.store.chats import Chats
from edgelm_tui.shell.text.plain import highlighted, plain_cells

HOSTILE = "[/INST] x[@click=app.leave]y[/] [bold]"
FILE = "[INST] [bold] x"
"""The same without a slash, which no file can have in its name."""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever was read as markup that came from outside."""
    found: list[str] = []

    def spy(owner: Any) -> None:
        real = owner.from_markup

        def from_markup(markup: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(markup, str) and "INST]" in markup:
                found.append(markup)
            return real(markup, *args, **kwargs)

        monkeypatch.setattr(owner, "from_markup", from_markup)

    spy(Content)
    spy(Text)
    return found


async def test_chats_files_errors_and_dialogs(parsed: list[str], tmp_path: Path) -> None:
    engine = ScriptedEngine()
    engine.script[HOSTILE] = HOSTILE
    async with running(engine=engine, size=(120, 40)) as it:
        await it.send(HOSTILE)
        await it.until(lambda: len(it.views) == 2, "sent as text")
        await it.idle()
        await it.focus(1)
        await it.press("plus", "y", "e", "escape")
        await it.send(f"/rename {HOSTILE}")
        await it.send(f"/folder {HOSTILE}")
        for command in (
            f"/import {HOSTILE}",
            f"/attach {HOSTILE}",
            f"/export {HOSTILE}",
            f"/model {HOSTILE}",
        ):
            await it.send(command)
        await it.send(f"/export '{tmp_path}/{FILE}.md'")
        await it.until(lambda: f"{FILE}.md" in it.toasts, "written")
        await it.send(f"/{HOSTILE}")
        it.prompt.say("")
        await it.press("ctrl+s", "r")
        assert HOSTILE in it.screen_text
        await it.press("escape")
        await it.press("ctrl+p", *"/inst")
        await it.until(lambda: f"Open the chat {HOSTILE}" in it.screen_text, "found")
        await it.press("escape")
        await it.send("/delete")
        await it.until(lambda: f"“{HOSTILE}” is deleted" in it.toasts, "deleted")
        await it.until(lambda: "[/INST]" in it.screen_text, "said")
    assert parsed == []


async def test_errors_of_an_answer(parsed: list[str]) -> None:
    from edgelm.errors import EngineError

    engine = ScriptedEngine()
    engine.script["fail"] = [EngineError(HOSTILE, hint=HOSTILE)]
    async with running(engine=engine) as it:
        await it.ask("fail")
        assert HOSTILE in it.views[-1].plain
        it.app.services.notices.report(HOSTILE, HOSTILE)
        it.chat.notify(HOSTILE, title=HOSTILE, markup=True)
        await it.pilot.pause()
        assert it.app.is_running
    assert parsed == []


async def test_models_adapters_and_runs(parsed: list[str], home: Path) -> None:
    install(home, FILE, source=HOSTILE, licence=HOSTILE)
    install_adapter(home, f"{FILE} 2", FILE)
    write_run(home, f"{FILE} 3", [*steps(5), DONE])
    async with running([FILE], size=(140, 40)) as it:
        await it.press("f3")
        await it.until(lambda: f"{FILE} 2" in it.screen_text, "listed")
        await it.press("down", "e", "escape", "x")
        await it.until(lambda: FILE in it.screen_text, "asked")
        await it.press("escape", "f4")
        await it.until(lambda: "finished" in it.screen_text and FILE in it.screen_text, "runs")
        await it.press("n")
        await it.until(lambda: bool(it.app.screen.query(Select)), "begun")
        await it.press("escape", "f2", "ctrl+o")
        await it.until(lambda: bool(it.app.screen.query(Select)), "settings")
        await it.press("escape", "ctrl+l")
        await it.until(lambda: FILE in it.screen_text, "asked")
        await it.press("escape", "ctrl+p", *"inst")
        await it.until(lambda: f"Load the model {FILE}" in it.screen_text, "found")
        await it.press("escape")
    assert parsed == []


async def test_found_chats(parsed: list[str]) -> None:
    with Chats() as chats:
        talk(chats, HOSTILE, HOSTILE)
    async with running(size=(120, 40)) as it:
        await it.press("ctrl+f", *"INST")
        await it.until(lambda: "[/INST] x" in it.screen_text, "found")
    assert parsed == []


def test_a_match_is_marked_and_nothing_else() -> None:
    from textual.fuzzy import Matcher

    content = highlighted(Matcher("ist"), HOSTILE)
    assert content.plain == HOSTILE
    assert content.spans
    assert [str(cell) for cell in plain_cells([HOSTILE, 3])] == [HOSTILE, "3"]


def test_the_command_line_prints_names_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table("name")
    table.add_row(HOSTILE)
    console().print(table)
    console().print(HOSTILE)
    assert capsys.readouterr().out.count(HOSTILE) == 2
