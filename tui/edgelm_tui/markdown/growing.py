"""The lines of a reply that grows: finished blocks are laid out once, the tail whenever it is asked for."""

from __future__ import annotations

import re

from textual.content import Content

from edgelm_tui.markdown.blocks import Block, BlockSplitter
from edgelm_tui.markdown.document import fences_in, ordered_start
from edgelm_tui.markdown.render import PROSE, render_fence, render_tail, render_text

_BLANK = Content("")
_TABLE = re.compile(r"^ {0,3}\|?[ :-]*-[ :-]*\|[ :|-]*$", re.MULTILINE)
"""The line under the head of a table."""
_DIGITS = 2
"""There is room for in a list before its end is known."""


class GrowingMarkdown:
    """Markdown at one width.

    Args:
        ansi: the theme has the terminal's sixteen colours only.
    """

    def __init__(self, *, ansi: bool = False) -> None:
        self.ansi = ansi
        self._width = 0
        self._splitter = BlockSplitter()
        self._lines: list[Content] = []
        self._fences = 0
        self._last: Block | None = None
        self._number: int | None = None
        self._mark = ""
        self._digits = _DIGITS
        self._shown = 0
        self._tails: dict[tuple[object, ...], list[Content]] = {}

    def lines(self, text: str, width: int, *, finished: bool = False) -> list[Content]:
        """Lay out all of `text` as lines; cheap if it begins with the text of the call before.

        A list that is the caller's to keep until the next call.
        """
        if width != self._width or not text.startswith(self._splitter.text):
            self._restart(width)
            self._digits = _DIGITS
        digits = self._digits
        lines = self._laid(text, finished)
        if self._digits != digits:  # a number with more of them has come: its list is laid out anew
            self._restart(width)
            lines = self._laid(text, finished)
        return lines

    def _laid(self, text: str, finished: bool) -> list[Content]:
        del self._lines[self._shown :]
        for block in self._splitter.feed(text):
            self._add(block)
        self._shown = len(self._lines)
        kept = self._last, self._fences, self._number, self._mark
        for block in self._splitter.tail_blocks:
            self._gap(block.kind)
            self._count(block)
            self._lines += self._tail_lines(block, finished=finished)
            self._last, self._fences = block, self._fences + _fences_of(block)
        self._last, self._fences, self._number, self._mark = kept
        return self._lines

    def _count(self, block: Block) -> None:
        """The number of an item: one more than that before it, whatever it says, as CommonMark has it."""
        found = ordered_start(block.text) if block.kind == "item" else None
        if found is None:
            self._number = None
            return
        own, mark = found
        goes_on = self._number is not None and mark == self._mark
        self._number, self._mark = (self._number or 0) + 1 if goes_on else own, mark
        self._digits = max(self._digits, len(str(self._number)))

    def _tail_lines(self, block: Block, *, finished: bool) -> list[Content]:
        """The lines of a block that may change, unless it is what it was at the last call: tables grow by whole rows."""
        text = block.text if finished or block.kind == "fence" else _whole_rows(block.text)
        key = (text, block.kind, self._width, finished, self._fences, self._number, self._digits)
        if key not in self._tails:
            if block.kind == "fence":
                number = self._fences + 1
                lines = render_fence(text, number, self._width, finished=finished, ansi=self.ansi)
            else:
                render = render_text if finished else render_tail
                lines = render(
                    text, self._room(text), start=self._number, digits=self._digits, fences=self._fences
                )
            self._tails = {**dict(list(self._tails.items())[-1:]), key: lines}
        return self._tails[key]

    def _restart(self, width: int) -> None:
        self._width, self._splitter, self._lines = width, BlockSplitter(), []
        self._fences, self._last, self._shown, self._number = 0, None, 0, None

    def _add(self, block: Block) -> None:
        if not block.text.strip():
            return
        self._gap(block.kind)
        self._count(block)
        if block.kind == "fence":
            self._lines += render_fence(block.text, self._fences + 1, self._width, ansi=self.ansi)
        else:
            room = self._room(block.text)
            self._lines += render_text(
                block.text, room, start=self._number, digits=self._digits, fences=self._fences
            )
        self._fences += _fences_of(block)
        self._last = block

    def _room(self, text: str) -> int:
        """Columns for a block: prose has no more than can be read, a table all there are."""
        return self._width if _TABLE.search(text) else min(self._width, PROSE)

    def _gap(self, kind: str) -> None:
        """A blank line between blocks, but not between the items of a tight list."""
        before = self._last
        if before is None or before.is_cut or (before.kind == kind == "item" and not before.is_spaced):
            return
        self._lines.append(_BLANK)


def _fences_of(block: Block) -> int:
    return 1 if block.kind == "fence" else fences_in(block.text)


def _whole_rows(tail: str) -> str:
    """Leave out the row that is being written, where the tail is a table: its columns move only once a row."""
    before, found, last = tail.rpartition("\n")
    return before + found if last.lstrip().startswith("|") and before.lstrip().startswith("|") else tail
