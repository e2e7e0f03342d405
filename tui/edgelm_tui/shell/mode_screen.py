"""What the modes have in common: tabs above, a status line and the keys below, help and the palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.events import Resize
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Static

from edgelm_tui.shell.keys.key_line import KeyLine
from edgelm_tui.shell.tabs import ModeTabs

if TYPE_CHECKING:
    from edgelm_tui.app import EdgeLMApp

WIDE = 100
"""Columns from which there is room for something beside the main thing."""
SHORT = 16
"""Rows below which lists give way."""


class ModeScreen(Screen[None]):
    """A mode. Subclasses say what stands between the tabs and the status line."""

    MODE: ClassVar[str]
    HELP_TEXT: ClassVar[str] = ""
    """A few sentences for F1."""
    DEFAULT_CSS = """
    ModeScreen #status { height: 1; padding: 0 1; background: $panel; color: $text-muted; }
    """

    @property
    def edgelm(self) -> EdgeLMApp:
        """The app, as what it is."""
        return cast("EdgeLMApp", self.app)

    def compose(self) -> ComposeResult:
        """Tabs, the mode's own, status, keys."""
        yield ModeTabs(self.MODE)
        yield from self.compose_body()
        yield Static("", id="status", markup=False)
        if self.edgelm.settings.app.footer:
            yield KeyLine()

    def hides_key(self, binding_id: str) -> bool:
        """Whether the last line leaves a key out, because it would do nothing now; overridden."""
        return False

    def compose_body(self) -> ComposeResult:
        """What the mode shows."""
        raise NotImplementedError

    def begin(self) -> None:
        """Show the state, and follow it; called when mounted."""
        self.edgelm.state_changed.subscribe(self, lambda _: self.show_state(), immediate=True)
        self._fit(self.app.size)
        self.show_state()

    def on_screen_resume(self) -> None:
        """What changed while another mode was shown, which may be the terminal's size."""
        if self.is_mounted:
            self._fit(self.app.size)
            self.show_state()

    def on_resize(self, event: Resize) -> None:
        """Wide or narrow."""
        self._fit(event.size)
        self.show_state()

    def width_changed(self, *, wide: bool) -> None:
        """There is room now for something beside the main thing, or there is no more; overridden."""

    def _fit(self, size: Size) -> None:
        was, wide = self.has_class("-wide"), size.width >= WIDE
        self.set_class(wide, "-wide")
        self.set_class(not wide, "-narrow")
        self.set_class(size.height < SHORT, "-short")
        if was != wide:
            self.width_changed(wide=wide)

    def show_state(self) -> None:
        """The status line; subclasses show more."""
        if status := self.query("#status"):
            width = max(self.app.size.width - 2, 1)
            status.first(Static).update(self.edgelm.state.status(width), layout=False)
