"""Markdown as Textual content, rendered block by block so that a growing reply stays cheap.

A finished block (up to a blank line outside a code fence) is rendered once; only the tail again. Styles are
attributes, not colours, so that they suit every theme.
"""

from __future__ import annotations

import io

from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text
from rich.theme import Theme
from textual.content import Content

_FENCES = ("```", "~~~")
_THEME = Theme(
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
        **{f"markdown.h{level}": "bold" for level in range(1, 8)},
    }
)


def split_blocks(text: str) -> tuple[list[str], str]:
    """The finished blocks of `text`, and the tail that may still change. Joined, they are `text`."""
    blocks: list[str] = []
    start = at = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        at += len(line)
        mark = line.lstrip()[:3]
        if fence:
            fence = "" if mark == fence else fence
        elif mark in _FENCES:
            fence = mark
        elif not line.strip() and line.endswith("\n") and text[start:at].strip():
            blocks.append(text[start:at])
            start = at
    return blocks, text[start:]


def render(text: str, width: int) -> Content:
    """One block of Markdown, `width` columns wide."""
    console = Console(file=io.StringIO(), width=max(width, 10), theme=_THEME, color_system=None, emoji=False)
    lines = console.render_lines(Markdown(text, hyperlinks=False, code_theme="bw"), pad=False)
    shown = Text("\n").join(
        Text.assemble(*((piece.text, piece.style or "") for piece in line), end="") for line in lines
    )
    shown.rstrip()
    return Content.from_rich_text(shown)


class GrowingMarkdown:
    """The content of a reply that grows at its end."""

    def __init__(self) -> None:
        self._text = ""
        self._width = 0
        self._finished: list[Content] = []
        self._finished_length = 0

    def content(self, text: str, width: int) -> Content:
        """All of `text`, which begins with the text of the call before."""
        if width != self._width or not text.startswith(self._text):
            self._width, self._finished, self._finished_length = width, [], 0
        self._text = text
        blocks, tail = split_blocks(text[self._finished_length :])
        self._finished += [render(block, width) for block in blocks]
        self._finished_length = len(text) - len(tail)
        last = [render(tail, width)] if tail.strip() else []
        return Content("\n\n").join([*self._finished, *last])
