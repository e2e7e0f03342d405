"""Arena: two models, one prompt, a blind vote. Its content comes with its own work."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, Middle
from textual.widgets import Static

from edgelm_tui.shell.base import ModeScreen

_TEXT = """\
Blind votes between two models or adapters will stand here.

They are not part of this version of the app. What you rate with + and - in a chat, and every answer
you edit, is kept; /feedback writes it as preference rows."""


class ArenaScreen(ModeScreen):
    """Says so."""

    MODE: ClassVar[str] = "arena"
    HELP_TEXT = "Blind comparisons are not part of this version."
    DEFAULT_CSS = (
        "ArenaScreen Static.about { width: auto; max-width: 90%; height: auto; text-align: center; }"
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.mode('chat')", "Chat", id="arena.chat")]

    def on_mount(self) -> None:
        """Follow the state."""
        self.begin()

    def compose_body(self) -> ComposeResult:
        """The text, in the middle."""
        with Middle(), Center():
            yield Static(_TEXT, classes="about", markup=False)
