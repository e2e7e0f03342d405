"""Keeps what names, answers, errors and files hold from steering the terminal.

Textual takes five control characters out of what it shows; an escape, or one of the second set (`\\x9b` begins a sequence in
xterm), would reach the terminal. Whatever a widget draws passes here last of all.
"""

from __future__ import annotations

import re

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""The sets C0 and C1 of ISO 6429. None has a width, so that a line without them is as wide as it was counted."""


class NoControls(LineFilter):
    """Leaves out characters that a terminal obeys instead of showing."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the same text without them."""
        return [
            Segment(_CONTROLS.sub("", text), style, control)
            if control is None and _CONTROLS.search(text)
            else Segment(text, style, control)
            for text, style, control in segments
        ]
