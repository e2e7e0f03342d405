"""The modes as tabs in the first line; a click changes to one."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

MODES = {"chat": "Chat", "library": "Library", "tune": "Tune"}
"""Mode → what it is called. F2 to F4, in this order."""


class ModeTab(Static):
    """One tab."""

    @dataclass
    class Chosen(Message):
        """The user clicked on the tab of `mode`."""

        mode: str

    def __init__(self, mode: str, key: str, *, current: bool) -> None:
        super().__init__(f" {key} {MODES[mode]} ", classes="current" if current else "", markup=False)
        self.mode = mode

    def on_click(self, event: Click) -> None:
        """Go there."""
        event.stop()
        self.post_message(self.Chosen(self.mode))


class ModeTabs(Horizontal):
    """All tabs, the one of `mode` marked."""

    DEFAULT_CSS = """
    ModeTabs { height: 1; background: $panel; }
    ModeTabs ModeTab { width: auto; color: $text-muted; }
    ModeTabs ModeTab:hover { background: $boost; color: $text; }
    ModeTabs ModeTab.current { background: $primary; color: $background; text-style: bold; }
    ModeTabs ModeTab.current:ansi { background: ansi_default; color: ansi_default; text-style: bold reverse; }
    ModeTabs #name { width: 1fr; text-align: right; color: $text-muted; padding: 0 1; }
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def compose(self) -> ComposeResult:
        """The tabs and the name."""
        for at, mode in enumerate(MODES):
            yield ModeTab(mode, f"F{at + 2}", current=mode == self._mode)
        yield Static("edgelm", id="name", markup=False)
