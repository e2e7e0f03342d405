"""Windows that are small, and that change: every field is shown whole, can be reached, and nothing lies over the prompt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from app_driver import Driver, running
from furniture import DONE, install, install_adapter, steps, write_run
from textual.dom import DOMNode
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Input, Select, Static

from edgelm_tui.screens.chat.sidebar import Sidebar
from edgelm_tui.settings import AppSettings
from edgelm_tui.shell.dialogs.dialog import FormRow
from edgelm_tui.shell.keys.every_key import every_widget_class

SIZES = [(40, 10), (60, 15), (80, 24), (120, 40)]
SCREENS = {
    "chat": (),
    "chats": ("ctrl+s",),
    "settings": ("ctrl+o",),
    "preferences": ("f10",),
    "models": ("ctrl+l",),
    "help": ("f1",),
    "library": ("f3",),
    "details": ("f3", "i"),
    "hub": ("f3", "h"),
    "convert": ("f3", "c"),
    "delete": ("f3", "x"),
    "tune": ("f4",),
    "new run": ("f4", "n"),
    "versus": ("f4", "v"),
}
LEAST = {Input: 10, Select: 10}
"""Columns without which a field cannot be read."""


def visible(widget: Widget) -> Region:
    """What of a widget is on the screen."""
    placed = widget.screen._compositor.visible_widgets.get(widget)
    return placed[0].intersection(placed[1]) if placed is not None else Region()


async def check_fields(it: Driver) -> None:
    """Walk through the screen with Tab: what has the focus is on the screen, in a size that can be used."""
    screen = it.app.screen
    for widget in screen.focus_chain:
        widget.focus()
        await it.until(lambda widget=widget: visible(widget).area > 0, f"{widget} is seen")  # type: ignore[misc]
        region = visible(widget)
        least = next((columns for kind, columns in LEAST.items() if isinstance(widget, kind)), 1)
        assert region.width >= least, f"{widget} has {region.width} columns\n{it.screen_text}"
        if isinstance(widget, Select):
            label = widget.query_one("#label", Static)
            assert visible(label).width >= min(len(str(label.content)), 8), f"{widget}\n{it.screen_text}"
        row = widget.parent
        if isinstance(row, FormRow):
            name = row.query(".form--label").first()
            assert name.region.width >= 8
            assert widget.region.height == 1


def furnish(home: Path) -> None:
    install(home)
    install_adapter(home, "poet", "tiny")
    write_run(home, "one", [*steps(50), DONE], model="tiny")


@pytest.mark.parametrize("screen", list(SCREENS))
async def test_every_field_can_be_reached_and_read(screen: str, home: Path) -> None:
    """In each size: those that the window had from the start, and those that it was brought to, up and down again."""
    furnish(home)
    async with running(size=SIZES[-1]) as it:
        it.app.animation_level = "none"
        for key in SCREENS[screen]:
            await it.press(key)
            if key in ("f3", "f4"):
                rows = {"f3": "_shown", "f4": "_logs"}[key]
                await it.until(lambda rows=rows: bool(getattr(it.app.screen, rows, None)), "filled")  # type: ignore[misc]
        for size in (*reversed(SIZES), SIZES[2]):
            await it.pilot.resize_terminal(*size)
            await it.pilot.pause()
            assert it.app.screen.size == size
            await check_fields(it)


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("keys", [(), ("ctrl+s",)])
async def test_the_list_of_chats_gives_way_when_the_window_shrinks(
    size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    async with running(size=(120, 30)) as it:
        await it.ask("hello")
        await it.press(*keys)
        assert it.chat.query_one(Sidebar).display
        await it.pilot.resize_terminal(*size)
        await it.pilot.pause()
        assert not it.chat.query_one(Sidebar).display
        assert it.prompt.has_focus
        assert visible(it.prompt).width == size[0]
        await it.press(*"still here")
        assert "still here" in it.screen_text
        await it.press("ctrl+s")
        assert it.chat.query_one(Sidebar).display  # when it is asked for
        await it.press("escape")
        assert it.prompt.has_focus
        await it.pilot.resize_terminal(120, 30)
        await it.pilot.pause()
        assert it.chat.query_one(Sidebar).display
        assert visible(it.prompt).width < 100


@pytest.mark.parametrize("size", SIZES)
async def test_the_first_start_leaves_room_for_the_prompt(size: tuple[int, int]) -> None:
    async with running([], size=size) as it:
        await it.until(lambda: "No model is installed yet" in it.screen_text, "welcomed")
        assert visible(it.prompt).height >= 3
        assert it.prompt.has_focus
        for name in ("#hub", "#demo"):
            it.chat.query_one(name).focus()
            await it.until(lambda name=name: visible(it.chat.query_one(name)).area > 0, name)  # type: ignore[misc]


async def test_a_window_that_shrank_in_another_mode_is_known_in_the_chat() -> None:
    async with running(size=(120, 30)) as it:
        await it.press("f3")
        await it.pilot.resize_terminal(60, 20)
        await it.press("f2")
        await it.until(lambda: not it.chat.query_one(Sidebar).display, "closed")
        assert visible(it.prompt).width == 60


def test_no_style_reaches_into_widgets_that_are_made_of_others() -> None:
    """A Select is made of Statics: a rule for every `Static` below something breaks it. Children and classes are safe."""
    wide = re.compile(r"(?<![>])\s+(Static|Label|Widget|Container|Vertical|Horizontal|\*)(:[\w-]+)?\s*$")
    found = []
    for kind in every_widget_class():
        for rule in re.findall(r"([^{}]+)\{", kind.__dict__.get("DEFAULT_CSS", "")):
            for selector in rule.split(","):
                name = " ".join(selector.split())
                if wide.search(" " + name) and " " in name and not re.search(r">\s*\S+$", name):
                    found.append(f"{kind.__name__}: {name}")
    assert not found


def test_the_check_sees_rules() -> None:
    assert len([kind for kind in every_widget_class() if "DEFAULT_CSS" in kind.__dict__]) > 15
    assert issubclass(Sidebar, DOMNode)
    assert AppSettings().sidebar
