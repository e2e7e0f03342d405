"""Where the user writes: Enter sends; Shift+Enter and Ctrl+J start a new line."""

from __future__ import annotations

from dataclasses import dataclass

from textual.events import Key
from textual.message import Message
from textual.widgets import TextArea


class Prompt(TextArea):
    """A text area that grows with its text and posts it on Enter."""

    DEFAULT_CSS = """
    Prompt { height: auto; max-height: 8; border: round $border-blurred; }
    Prompt:focus { border: round $primary; }
    """

    @dataclass
    class Submitted(Message):
        """The user pressed Enter on `text`, which is not blank."""

        text: str

    async def _on_key(self, event: Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if self.text.strip():
                self.post_message(self.Submitted(self.text))
        elif event.key in ("ctrl+j", "shift+enter"):
            event.stop()
            event.prevent_default()
            self.insert("\n")
        else:
            await super()._on_key(event)
