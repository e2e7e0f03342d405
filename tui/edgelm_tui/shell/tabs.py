"""The screens as tabs in the first line; a click changes to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from edgelm_tui.services.screen_entry import ScreenEntry


class ModeTab(Static):
    """The tab of one screen.

    Args:
        key: the one that leads there, as it is shown.
    """

    @dataclass
    class Chosen(Message):
        """The user clicked on the tab of the screen `mode`."""

        mode: str

    def __init__(self, entry: ScreenEntry, key: str, *, current: bool) -> None:
        super().__init__(f" {key} {entry.title} ", classes="current" if current else "", markup=False)
        self.mode = entry.key

    def on_click(self, event: Click) -> None:
        """Go to the screen of the tab."""
        event.stop()
        self.post_message(self.Chosen(self.mode))


class ModeTabs(Horizontal):
    """All tabs, the one of the screen `mode` marked."""

    DEFAULT_CSS = """
    ModeTabs { height: 1; background: $panel; }
    ModeTabs ModeTab { width: auto; color: $text-muted; }
    ModeTabs ModeTab:hover { background: $boost; color: $text; }
    ModeTabs ModeTab.current { background: $primary; color: $background; text-style: bold; }
    ModeTabs ModeTab.current:ansi { background: ansi_default; color: ansi_default; text-style: bold reverse; }
    ModeTabs #name { width: 1fr; text-align: right; color: $text-muted; padding: 0 1; }
    """

    def __init__(self, entries: Sequence[ScreenEntry], mode: str) -> None:
        super().__init__()
        self._entries, self._mode = entries, mode

    def compose(self) -> ComposeResult:
        """Show the tabs and the name."""
        for at, entry in enumerate(self._entries, 2):
            yield ModeTab(entry, f"F{at}", current=entry.key == self._mode)
        yield Static("edgelm", id="name", markup=False)
