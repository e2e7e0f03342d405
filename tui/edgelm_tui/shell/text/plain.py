"""Text that is not ours, as Textual is to show it: to the letter, never as markup.

Textual reads strings as markup in toasts, tables, selects and the palette, where `[/INST]` ends the app and `[@click=…]`
makes a button. Toasts are plain by `EdgeLMApp.notify`, labels and lists by `markup=False`; the rest is made here.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual.content import Content
from textual.fuzzy import Matcher


def plain(text: str) -> Text:
    """Make a cell of a table, or an option of a select, that shows `text` to the letter."""
    return Text(text)


def plain_cells(values: Iterable[object]) -> list[object]:
    """Make the cells of a row; those that are no strings stay as they are."""
    return [plain(value) if isinstance(value, str) else value for value in values]


def highlighted(matcher: Matcher, text: str) -> Content:
    """Highlight as `Matcher.highlight` does, which takes its text for markup, any text to the letter."""
    _, offsets = matcher.fuzzy_search.match(matcher.query, text)
    content = Content(text)
    for at in offsets:
        if not text[at].isspace():
            content = content.stylize(matcher.match_style, at, at + 1)
    return content
