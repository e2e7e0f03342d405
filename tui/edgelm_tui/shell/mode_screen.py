"""What the screens with a tab have in common: tabs above, a status line and the keys below, help and the palette."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.events import Resize
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Static

from edgelm_tui.services.services import Services
from edgelm_tui.shell.keys.key_line import KeyLine
from edgelm_tui.shell.tabs import ModeTabs

WIDE = 100
"""Columns from which there is room for something beside the main thing."""
SHORT = 16
"""Rows below which lists give way."""


class ModeScreen(Screen[None]):
    """A screen with a tab. Subclasses say what stands between the tabs and the status line.

    Args:
        services: what the screen stands on.
    """

    MODE: ClassVar[str]
    HELP_TEXT: ClassVar[str] = ""
    """A few sentences for F1."""
    DEFAULT_CSS = """
    ModeScreen #status { height: 1; padding: 0 1; background: $panel; color: $text-muted; }
    """

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.services = services

    def compose(self) -> ComposeResult:
        """Show the tabs, the screen's own part, the status line and the keys."""
        yield ModeTabs(self.services.screens, self.MODE)
        yield from self.compose_body()
        yield Static("", id="status", markup=False)
        if self.services.settings.app.footer:
            yield KeyLine()

    def hides_key(self, binding_id: str) -> bool:
        """Tell whether the last line leaves a key out, because it would do nothing now; overridden."""
        return False

    def other_bindings(self) -> Iterable[Binding]:
        """Return keys of parts that have no focus now, for the help; overridden."""
        return ()

    def palette_actions(self) -> Iterable[tuple[str, str]]:
        """Return what the palette offers beside the keys that work now, as (sentence, action); overridden."""
        return ()

    def clear_typed(self) -> bool:
        """Clear the line in which the user writes; False where nothing is typed. Overridden."""
        return False

    def compose_body(self) -> ComposeResult:
        """Make what stands between the tabs and the status line."""
        raise NotImplementedError

    def begin(self) -> None:
        """Show the state, and follow it; called when mounted."""
        self.services.signals.state.subscribe(self, lambda _: self.show_state(), immediate=True)
        self._fit(self.app.size)
        self.show_state()

    def on_screen_resume(self) -> None:
        """Show what changed while another screen was shown, which may be the terminal's size."""
        if self.is_mounted:
            self._fit(self.app.size)
            self.show_state()

    def on_resize(self, event: Resize) -> None:
        """Fit the screen to the terminal."""
        self._fit(event.size)
        self.show_state()

    def width_changed(self, *, wide: bool) -> None:
        """Note that there is room now for something beside the main thing, or no more; overridden."""

    def _fit(self, size: Size) -> None:
        was, wide = self.has_class("-wide"), size.width >= WIDE
        self.set_class(wide, "-wide")
        self.set_class(not wide, "-narrow")
        self.set_class(size.height < SHORT, "-short")
        if was != wide:
            self.width_changed(wide=wide)

    def show_state(self) -> None:
        """Show the status line; subclasses show more."""
        if status := self.query("#status"):
            width = max(self.app.size.width - 2, 1)
            status.first(Static).update(self.services.state.status(width), layout=False)
