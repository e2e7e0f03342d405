"""One turn of a conversation: one widget, however long the text."""

from __future__ import annotations

from typing import Literal

from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from edgelm_tui.markdown import GrowingMarkdown

Role = Literal["user", "assistant", "note"]


class Message(Static):
    """What one side said. A reply grows by `say`, and is painted by `paint` when the tick comes."""

    DEFAULT_CSS = """
    Message { height: auto; padding: 0 1; margin: 0 0 1 0; }
    Message.user { border-left: outer $primary; }
    Message.note { color: $text-muted; }
    """

    def __init__(self, role: Role, text: str = "") -> None:
        super().__init__(Content(text), classes=role, markup=False)
        self._markdown = GrowingMarkdown() if role == "assistant" else None
        self._thinking = ""
        self.text = text
        """The answer, or what the user said."""

    def say(self, text: str, *, thinking: bool = False) -> None:
        """Take a piece of the reply; nothing is painted yet."""
        if thinking:
            self._thinking += text
        else:
            self.text += text

    def paint(self) -> None:
        """Show what was said so far."""
        if self._markdown is None:
            return
        width = self.scrollable_content_region.width or self.app.size.width - 4
        parts = [self._markdown.content(self.text, width)] if self.text.strip() else []
        if self._thinking.strip():
            parts.insert(0, Content.styled(self._thinking.strip(), "dim italic"))
        self.update(Content("\n\n").join(parts))

    def on_resize(self, event: Resize) -> None:
        """A reply is laid out for its width."""
        if event.size.width != self._painted_width:
            self._painted_width = event.size.width
            self.paint()

    _painted_width = 0
