"""What is done to text and colours last of all, by what the terminal can show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from textual.app import App
from textual.color import Color
from textual.filter import LineFilter

from edgelm_tui.shell.colours.colour_levels import Colours256, NoColours
from edgelm_tui.shell.text.no_controls import NoControls


class TerminalColours:
    """The colours of the terminal that an app is shown in.

    Args:
        level: how many there are (a name of rich's: truecolor, 256, standard) instead of what the environment says.

    Attributes:
        none: NO_COLOR is set; an empty one does not count, says no-color.org.
    """

    def __init__(self, app: App[Any], level: str | None = None) -> None:
        self._app, self._wanted = app, level
        self.none = bool(os.environ.get("NO_COLOR"))
        self._no_controls = NoControls()
        self._no_colours, self._colours_256 = NoColours(self._ground), Colours256()

    def filters(self, usual: Sequence[LineFilter]) -> Sequence[LineFilter]:
        """Return what lines go through, `usual` being Textual's own filters."""
        if self.none:
            return [self._no_controls, self._no_colours]
        return [self._no_controls, *usual, *([self._colours_256] if self._level == "256" else [])]

    def theme_for(self, name: str) -> str:
        """Return the theme to use for the one that is set: a terminal that has only its own sixteen colours gets those."""
        return "ansi" if self._level == "standard" and not self.none else name

    @property
    def _level(self) -> str | None:
        # Pictures and tests have all colours, whatever the terminal is.
        return self._wanted or ("truecolor" if self._app.is_headless else self._app.console.color_system)

    def _ground(self) -> Color:
        ground = Color.parse(self._app.theme_variables["background"])
        return Color(0, 0, 0) if ground.ansi is not None else ground
