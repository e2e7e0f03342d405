"""The last line: the keys of what has the focus first, then those of the screen; as many whole pairs as there is room for."""

from __future__ import annotations

from collections.abc import Iterator

from textual.binding import ActiveBinding
from textual.content import Content
from textual.events import Click
from textual.screen import Screen
from textual.widget import Widget

from edgelm_tui.shell.keys.key_names import short_key_name

_GAP = "   "
_ALWAYS = ("app.help", "app.palette")
"""Shown however little room there is: they lead to all others."""

_FIRST = "chat.stop"
"""Shown only while there is something to stop, and then before all else."""


class KeyLine(Widget, can_focus=False):
    """Key and what it does, pair by pair; a click on one does it."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyLine { dock: bottom; height: 1; padding: 0 1; background: $background; color: $foreground; text-wrap: nowrap; }
    """

    def on_mount(self) -> None:
        """Follow the focus."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if screen is self.screen:
            self.refresh()

    def render(self) -> Content:
        """Draw the pairs that fit."""
        parts: list[str | tuple[str, str]] = []
        for key, description in self.pairs():
            parts += [
                (short_key_name(key), "bold $footer-key-foreground"),
                f" {description}{_GAP}",
            ]
        return Content.assemble(*parts)

    def pairs(self) -> list[tuple[str, str]]:
        """List keys and descriptions, as far as there is room."""
        active = sorted(self._shown(), key=lambda one: one.binding.id != _FIRST)
        last = [one for one in active if one.binding.id in _ALWAYS]
        room = self.size.width - sum(_width(one) for one in last) + len(_GAP)
        shown = []
        for one in active:
            if one in last:
                continue
            room -= _width(one)
            if room < 0:
                break
            shown.append(one)
        return [(one.binding.key, one.binding.description) for one in [*shown, *last]]

    def on_click(self, event: Click) -> None:
        """Do what stands there."""
        at = 1
        for key, description in self.pairs():
            end = at + len(short_key_name(key)) + 1 + len(description)
            if at <= event.x < end:
                self.app.simulate_key(key)
                return
            at = end + len(_GAP)

    def _shown(self) -> Iterator[ActiveBinding]:
        hides = getattr(self.screen, "hides_key", lambda _: False)
        seen = set()
        for active in self.screen.active_bindings.values():
            name = active.binding.id or active.binding.action
            if active.binding.show and active.enabled and name not in seen and not hides(name):
                seen.add(name)
                yield active


def _width(active: ActiveBinding) -> int:
    return len(f"{short_key_name(active.binding.key)} {active.binding.description}{_GAP}")
