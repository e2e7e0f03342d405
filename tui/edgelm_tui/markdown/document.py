"""rich's Markdown with lists as CommonMark numbers them, boxes for tasks, and HTML as the text it is.

rich numbers without dots, makes room for one item more than there is, and leaves tags out: `<div>` in a sentence about HTML.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import (
    ListElement,
    ListItem,
    Markdown,
    MarkdownContext,
    MarkdownElement,
    Paragraph,
    TextElement,
)
from rich.segment import Segment
from rich.text import Text

_BOXES = {"[ ] ": "☐", "[x] ": "☑", "[X] ": "☑"}


@cache
def parser() -> MarkdownIt:
    """CommonMark with tables and ~~deletions~~; HTML stays text, since nothing here renders it."""
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


class Document(Markdown):
    """Markdown whose first list may go on from an item before it.

    Args:
        start: the number of its first item, where it is ordered; None is its own.
        digits: of a number at the outermost level, at least; items that are laid out one by one stand under each other so.
        fences: how many blocks of code stand before it.
    """

    elements: ClassVar[dict[str, type[MarkdownElement]]]

    def __init__(self, text: str, *, start: int | None = None, digits: int = 1, fences: int = 0) -> None:
        super().__init__("", hyperlinks=False, code_theme="bw")
        self.markup = text
        self.parsed = parser().parse(text)
        self.digits = digits
        self.fences = fences
        first = self.parsed[0] if self.parsed else None
        if start is not None and first is not None and first.type == "ordered_list_open":
            first.attrs["start"] = start


class Fence(TextElement):
    """Code in a list or a quotation, with a frame and the number that copies it, as outside of them."""

    style_name = "none"

    def __init__(self, title: str) -> None:
        self.title = title

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> Fence:
        """Counts those that have a fence: what is only indented is not copied by number."""
        name = token.info.strip().split(" ")[0] or "code"
        if token.type != "fence" or not isinstance(markdown, Document):
            return cls("code")
        markdown.fences += 1
        return cls(f"{markdown.fences} {name}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Line by line, each within the frame."""
        yield Text(f"┌ {self.title}", style="dim")
        for line in self.text.plain.rstrip("\n").expandtabs(4).split("\n"):
            for piece in _folded(line, max(options.max_width - 2, 2)):
                yield Text.assemble(("│ ", "dim"), piece)
        yield Text("└", style="dim")


def _folded(line: str, width: int) -> list[str]:
    """Code is cut where the line ends, not at a space."""
    return chop_cells(line, width) or [""]


class Numbers(ListElement):
    """A list; its numbers end where the last of them does."""

    def __init__(self, list_type: str, list_start: int | None, mark: str, digits: int) -> None:
        super().__init__(list_type, list_start)
        self.mark, self.digits = mark, digits

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> Numbers:
        """Make the list that the token says; only lists of the outermost level go on from block to block."""
        digits = markdown.digits if isinstance(markdown, Document) and token.level == 0 else 1
        return cls(token.type, int(token.attrs.get("start", 1)), token.markup, digits)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Item by item."""
        first = self.list_start if self.list_start is not None else 1
        width = max(self.digits, len(str(first + len(self.items) - 1)))
        for number, item in enumerate(self.items, first):
            sign = f"{number}{self.mark}".rjust(width + 1) if self.list_type == "ordered_list_open" else "•"
            if isinstance(item, Item):
                yield from item.render_under(sign, console, options)


class Item(ListItem):
    """One item, which may be a task."""

    def __init__(self) -> None:
        super().__init__()
        self.box = ""
        self._has_begun = False

    def on_child_close(self, context: MarkdownContext, child: MarkdownElement) -> bool:
        """Take the box with which the first paragraph may begin."""
        if isinstance(child, Paragraph) and not self._has_begun and child.text.plain[:4] in _BOXES:
            self.box = _BOXES[child.text.plain[:4]]
            child.text = child.text[4:]
        self._has_begun = True
        return bool(super().on_child_close(context, child))

    def render_under(self, sign: str, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay out the lines of the item, the first of them behind its sign."""
        sign = self.box if self.box and sign == "•" else f"{sign} {self.box}".rstrip()
        width = len(sign) + 2
        style = console.get_style(
            "markdown.item.bullet" if sign in ("•", self.box) else "markdown.item.number", default="none"
        )
        lines = console.render_lines(
            self.elements, options.update(width=max(options.max_width - width, 1)), style=self.style
        )
        for at, line in enumerate(lines or [[]]):
            yield Segment(f" {sign} " if at == 0 else " " * width, style)
            yield from line
            yield Segment("\n")


Document.elements = {
    **Markdown.elements,
    "fence": Fence,
    "code_block": Fence,
    "bullet_list_open": Numbers,
    "ordered_list_open": Numbers,
    "list_item_open": Item,
}


def fences_in(text: str) -> int:
    """Count the blocks of code that have a fence."""
    if "```" not in text and "~~~" not in text:
        return 0
    return sum(token.type == "fence" for token in parser().parse(text))


def ordered_start(text: str) -> tuple[int, str] | None:
    """Return the number and the mark (`.` or `)`) with which a block begins; None if it is no item of an ordered list."""
    tokens: list[Any] = parser().parse(text)
    if not tokens or tokens[0].type != "ordered_list_open":
        return None
    return int(tokens[0].attrs.get("start", 1)), tokens[0].markup
