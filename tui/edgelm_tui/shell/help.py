"""F1: what the screen is for and every key that works on it, with the id it has in config.toml."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

_GROUPS = {
    "app": "Everywhere",
    "chat": "Chat",
    "prompt": "Prompt",
    "message": "On a message (Shift+Tab reaches the last one)",
    "sessions": "List of chats",
    "library": "Library",
    "job": "Jobs",
    "tune": "Tune",
    "dialog": "Dialogs",
}


class HelpScreen(ModalScreen[None]):
    """Help on one screen."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen VerticalScroll {
        width: 90%; max-width: 100; height: 90%; border: round $primary; background: $surface; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "dismiss", "Close", id="help.close")]

    def __init__(self, text: str, bindings: Iterable[tuple[Binding, str]]) -> None:
        super().__init__()
        self._text = text
        self._keys = list(bindings)

    def compose(self) -> ComposeResult:
        """One text."""
        with VerticalScroll() as scroll:
            scroll.border_title = "Help"
            yield Static(self._content(), markup=False)

    def on_mount(self) -> None:
        """The arrows scroll."""
        self.query_one(VerticalScroll).focus()

    def _content(self) -> Content:
        parts: list[str | tuple[str, str]] = [self._text.strip(), "\n"]
        groups: dict[str, list[tuple[Binding, str]]] = {}
        for binding, key in self._keys:
            group = (binding.id or "").partition(".")[0]
            if group in _GROUPS:
                groups.setdefault(group, []).append((binding, key))
        for group in [name for name in _GROUPS if name in groups]:
            parts += ["\n", (_GROUPS[group], "bold"), "\n"]
            for binding, key in groups[group]:
                parts += [("  " + key.ljust(20), "$text-accent"), binding.description.ljust(40)]
                parts += [(f" {binding.id}", "$foreground-muted"), "\n"]
        parts += ['\nA key can be changed in config.toml: [keys], then "id" = "key,other key"\n']
        return Content.assemble(*parts)


def keys_of(active: Iterable[ActiveBinding], others: Iterable[Binding]) -> list[tuple[Binding, str]]:
    """Bindings that have an id with the keys they are on, each once."""
    keys: dict[str, tuple[Binding, list[str]]] = {}
    for item in active:
        if item.binding.id:
            keys.setdefault(item.binding.id, (item.binding, []))[1].append(item.binding.key)
    for binding in others:
        if binding.id and binding.id not in keys:
            keys[binding.id] = (binding, binding.key.split(","))
    return [(binding, ", ".join(map(_shown, names))) for binding, names in keys.values()]


def _shown(key: str) -> str:
    names = {
        "left_square_bracket": "[",
        "right_square_bracket": "]",
        "plus": "+",
        "minus": "-",
        "slash": "/",
        "question_mark": "?",
        "escape": "Esc",
        "enter": "Enter",
        "space": "Space",
    }
    *modifiers, last = key.split("+")
    word = last.capitalize() if len(last) > 1 or modifiers else last
    return "+".join(
        [
            *(name.capitalize() for name in modifiers),
            names.get(last, word),
        ]
    )
