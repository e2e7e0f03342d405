"""Keys as they stand on keyboards: `ctrl+n` → `Ctrl+N`, and `^N` where there is little room."""

from __future__ import annotations

from textual.keys import key_to_character

_NAMES = {
    "escape": "Esc",
    "pageup": "PageUp",
    "pagedown": "PageDown",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "space": "Space",
    # Textual's own short names, which key_to_character does not know.
    "plus": "+",
    "minus": "-",
    "slash": "/",
    "backslash": "\\",
    "underscore": "_",
}
_SHORT = {"ctrl": "^", "shift": "⇧"}


def key_name(key: str) -> str:
    """Textual's name of a key, as people know it: `equals_sign` → `=`."""
    *modifiers, last = key.split("+")
    return "+".join([*(word.capitalize() for word in modifiers), _last(last, capital=bool(modifiers))])


def short_key_name(key: str) -> str:
    """Say the same in fewer letters: `^N`, `⇧Tab`."""
    *modifiers, last = key.split("+")
    return "".join(_SHORT.get(word, f"{word.capitalize()}+") for word in modifiers) + _last(
        last, capital=bool(modifiers)
    )


def _last(key: str, *, capital: bool) -> str:
    if key in _NAMES:
        return _NAMES[key]
    if len(key) == 1:
        return key.upper() if capital else key
    character = key_to_character(key)
    return character if character is not None and character.isprintable() else key.capitalize()
