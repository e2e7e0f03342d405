"""F1: what the screen is for and every key that works on it, with the id it has in config.toml."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from edgelm_tui.services.screen_entry import ScreenEntry
from edgelm_tui.shell.dialogs.dialog import Dialog
from edgelm_tui.shell.keys.key_names import key_name
from edgelm_tui.shell.keys.sentences import LONGEST, sentence

_KEYS = 16
_IDS = 96
"""Columns of the terminal from which the ids have room beside the sentences."""


class HelpScreen(Dialog[None]):
    """Help on one screen.

    Args:
        text: a few sentences on the screen.
        bindings: what works there, each with the names of its keys.
        entries: all screens, by which keys are grouped.
    """

    DEFAULT_CSS = """
    HelpScreen > .frame { max-width: 100; height: 100%; }
    HelpScreen .lines { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q,question_mark", "dismiss", "Close", id="help.close")
    ]

    def __init__(
        self, text: str, bindings: Iterable[tuple[Binding, str]], entries: Sequence[ScreenEntry]
    ) -> None:
        super().__init__()
        self._text = text
        self._keys = list(bindings)
        self._groups = {"app": "Everywhere"}
        for entry in entries:
            self._groups |= {entry.key: entry.title, **entry.groups}
        self._groups["dialog"] = "Dialogs"

    def compose(self) -> ComposeResult:
        """Show one text."""
        with VerticalScroll(classes="frame") as scroll:
            scroll.border_title = "Help: arrows scroll, Esc closes"
            yield Static(self._content(self.app.size.width), classes="lines", markup=False)

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()

    def on_resize(self) -> None:
        """Show the ids where they have room."""
        self.query_one(".lines", Static).update(self._content(self.app.size.width))

    def _content(self, columns: int) -> Content:
        parts: list[str | tuple[str, str]] = [self._text.strip(), "\n"]
        groups: dict[str, list[tuple[Binding, str]]] = {}
        for binding, key in self._keys:
            group = (binding.id or "").partition(".")[0]
            if group in self._groups:
                groups.setdefault(group, []).append((binding, key))
        for group in [name for name in self._groups if name in groups]:
            parts += ["\n", (self._groups[group], "bold"), "\n"]
            for binding, key in groups[group]:
                parts += [
                    (f"{_fitting(key):16} ", "$text-accent"),
                    sentence(binding)[:LONGEST].ljust(LONGEST),
                ]
                parts += [(f" {binding.id}", "$text-muted")] if columns >= _IDS else []
                parts.append("\n")
        parts.append('\nA key can be changed in config.toml: [keys], then "id" = "key,other key"')
        parts.append("" if columns >= _IDS else f". The ids are shown from {_IDS} columns on.")
        return Content.assemble(*parts)


def keys_of(active: Iterable[ActiveBinding], others: Iterable[Binding]) -> list[tuple[Binding, str]]:
    """Pair the bindings that have an id with the names of the keys they are on, each once."""
    keys: dict[str, tuple[Binding, list[str]]] = {}
    for item in active:
        if item.binding.id:
            keys.setdefault(item.binding.id, (item.binding, []))[1].append(item.binding.key)
    for binding in others:
        if binding.id and binding.id not in keys:
            keys[binding.id] = (binding, binding.key.split(","))
    return [(binding, " ".join(dict.fromkeys(map(key_name, names)))) for binding, names in keys.values()]


def _fitting(keys: str) -> str:
    """Return as many of the keys as there is room for."""
    shown = keys.split(" ")
    while len(shown) > 1 and len(" ".join(shown)) > _KEYS:
        shown.pop()
    return " ".join(shown)
