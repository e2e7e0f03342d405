"""One block of Markdown as lines of Textual content, wrapped to a width.

Styles are attributes and theme variables, never colours, so that they suit every theme. Mathematics stays as it was
written. Code is highlighted once its fence is closed.
"""

from __future__ import annotations

import io
import re
from functools import cache
from typing import TYPE_CHECKING

from textual.content import Content

if TYPE_CHECKING:
    from rich.theme import Theme

_MATH = re.compile(
    r"\$\$.+?\$\$|\\\[.+?\\\]|\\\(.+?\\\)|(?<![\\$\w])\$(?!\s)[^$\n]+?(?<!\s)\$(?![\w$])", re.DOTALL
)
_CODE_SPAN = re.compile(
    r"(`+)(?!`).+?(?<!`)\1(?!`)|^[ \t>]*~{3}.*?(?:^[ \t>]*~{3}|\Z)", re.DOTALL | re.MULTILINE
)
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~^=&$])")
# What a model writes must not steer the terminal: control characters become their visible pictures.
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
PROSE = 104
"""Columns beyond which lines of prose are hard to follow."""
_PLAIN_TAIL = 6000
"""Characters of an unfinished block above which it is only wrapped."""


def visible(text: str) -> str:
    """Leave out of `text` the characters that steer a terminal."""
    return text.translate(_CONTROLS)


def render_text(
    text: str, width: int, *, start: int | None = None, digits: int = 1, fences: int = 0
) -> list[Content]:
    """Draw a paragraph, list, table, quote or heading; for `start`, `digits` and `fences` see `Document`."""
    if len(text) > _PLAIN_TAIL * 4:
        return wrap(text, width)
    from rich.console import Console
    from rich.text import Text

    from edgelm_tui.markdown.document import Document

    console = Console(
        file=io.StringIO(),
        width=max(width, 10),
        theme=_theme(),
        color_system=None,
        emoji=False,
        legacy_windows=False,
    )
    document = Document(protect_math(visible(text)), start=start, digits=digits, fences=fences)
    lines = console.render_lines(document, pad=False)
    shown = []
    for line in lines:
        joined = Text.assemble(
            *((piece.text, piece.style or "") for piece in line if not piece.control), end=""
        )
        joined.rstrip()
        shown.append(Content.from_rich_text(joined))
    while shown and not shown[-1].plain.strip():
        shown.pop()
    while shown and not shown[0].plain.strip():
        shown.pop(0)
    return shown


def render_tail(
    text: str, width: int, *, start: int | None = None, digits: int = 1, fences: int = 0
) -> list[Content]:
    """Draw a paragraph, list or table that is still growing."""
    if len(text) > _PLAIN_TAIL:
        return wrap(text, width)
    return render_text(text, width, start=start, digits=digits, fences=fences)


def render_fence(
    text: str, number: int, width: int, *, finished: bool = True, ansi: bool = False
) -> list[Content]:
    """Draw a block of code under a line with its number, which copies it."""
    first, _, rest = text.strip("\n").partition("\n")
    language = first.strip().lstrip("`~").strip().split(" ")[0]
    code = visible(rest)
    if finished:
        code = re.sub(r"\n?[ \t]*(`{3,}|~{3,})[ \t]*$", "", code)
    head = Content.styled(f"┌ {number} {language or 'code'}", "$foreground-muted")
    body = _highlighted(code, language, ansi) if finished and language else Content(code)
    lines = [head]
    for line in body.split("\n", allow_blank=True) if code else []:
        pieces = line.expand_tabs(4).fold(max(width - 2, 2)) or [line]
        lines += [Content.assemble(("│ ", "$foreground-muted"), piece) for piece in pieces]
    return [*lines, Content.styled("└", "$foreground-muted")]


def wrap(text: str, width: int, style: str = "") -> list[Content]:
    """Wrap plain text to lines."""
    content = Content(visible(text.strip("\n"))).expand_tabs(4)
    if style:
        content = content.stylize(style)
    return content.wrap(max(width, 2))


def protect_math(text: str) -> str:
    """Escape what Markdown would take out of mathematics; code stays as it is."""
    if "$" not in text and "\\" not in text:
        return text
    parts: list[str] = []
    at = 0
    for code in _CODE_SPAN.finditer(text):
        parts += [_MATH.sub(_escape, text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*parts, _MATH.sub(_escape, text[at:])])


def _escape(found: re.Match[str]) -> str:
    return _SPECIAL.sub(r"\\\1", found[0])


def _highlighted(code: str, language: str, ansi: bool) -> Content:
    from textual.highlight import ANSIDarkHighlightTheme, HighlightTheme, highlight

    return highlight(code, language=language, theme=ANSIDarkHighlightTheme if ansi else HighlightTheme)


@cache
def _theme() -> Theme:
    from rich.theme import Theme

    return Theme(
        {
            "markdown.code": "bold",
            "markdown.code_block": "none",
            "markdown.block_quote": "italic",
            "markdown.list": "none",
            "markdown.item.bullet": "bold",
            "markdown.item.number": "bold",
            "markdown.hr": "dim",
            "markdown.link": "underline",
            "markdown.link_url": "underline",
            "markdown.table.border": "dim",
            "markdown.table.header": "bold",
            **{f"markdown.h{level}": "bold" for level in range(1, 8)},
            "markdown.h1.border": "none",
            "markdown.h1": "bold underline",
        }
    )
