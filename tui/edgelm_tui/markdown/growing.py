"""The lines of a reply that grows: finished blocks are laid out once, the tail whenever it is asked for."""

from __future__ import annotations

from textual.content import Content

from edgelm_tui.markdown.blocks import Block, Splitter
from edgelm_tui.markdown.render import render_fence, render_tail, render_text

_BLANK = Content("")


class GrowingMarkdown:
    """Markdown at one width.

    Args:
        ansi: the theme has the terminal's sixteen colours only.
    """

    def __init__(self, *, ansi: bool = False) -> None:
        self.ansi = ansi
        self._width = 0
        self._splitter = Splitter()
        self._lines: list[Content] = []
        self._fences = 0
        self._last: Block | None = None
        self._shown = 0
        self._tail: list[Content] = []
        self._tail_key: tuple[object, ...] = ()

    def lines(self, text: str, width: int, *, finished: bool = False) -> list[Content]:
        """All of `text` as lines; cheap if it begins with the text of the call before.

        A list that is the caller's to keep until the next call.
        """
        if width != self._width or not text.startswith(self._splitter.text):
            self._restart(width)
        del self._lines[self._shown :]
        for block in self._splitter.feed(text):
            self._add(block)
        self._shown = len(self._lines)
        tail, kind = self._splitter.tail, self._splitter.tail_kind
        if not finished and kind == "text":
            tail = _whole_rows(tail)
        if tail.strip():
            self._gap(kind)
            self._lines += self._tail_lines(tail, kind, width, finished=finished)
        return self._lines

    def _tail_lines(self, tail: str, kind: str, width: int, *, finished: bool) -> list[Content]:
        """The tail, unless it is what it was at the last call: rows of a table come one at a time."""
        key = (tail, kind, width, finished)
        if key == self._tail_key:
            return self._tail
        number = self._fences + 1
        if kind == "fence":
            self._tail = render_fence(tail, number, width, finished=finished, ansi=self.ansi)
        elif finished:
            self._tail = render_text(tail, width)
        else:
            self._tail = render_tail(tail, width)
        self._tail_key = key
        return self._tail

    def _restart(self, width: int) -> None:
        self._width, self._splitter, self._lines = width, Splitter(), []
        self._fences, self._last, self._shown = 0, None, 0

    def _add(self, block: Block) -> None:
        if not block.text.strip():
            return
        self._gap(block.kind)
        if block.kind == "fence":
            self._fences += 1
            self._lines += render_fence(block.text, self._fences, self._width, ansi=self.ansi)
        else:
            self._fences += (
                sum(line.lstrip().startswith(("```", "~~~")) for line in block.text.splitlines()) // 2
            )
            self._lines += render_text(block.text, self._width)
        self._last = block

    def _gap(self, kind: str) -> None:
        """A blank line between blocks, but not between the items of a tight list."""
        before = self._last
        if before is None or before.is_cut or (before.kind == kind == "item" and not before.is_spaced):
            return
        self._lines.append(_BLANK)


def _whole_rows(tail: str) -> str:
    """Without the row that is being written, where the tail is a table: its columns move only once a row."""
    before, found, last = tail.rpartition("\n")
    return before + found if last.lstrip().startswith("|") and before.lstrip().startswith("|") else tail
