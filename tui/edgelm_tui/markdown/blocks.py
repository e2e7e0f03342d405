"""Cuts Markdown that arrives piece by piece into blocks that will not change any more.

A block is a paragraph, a table, one item of a list with what hangs below it, or a fence. Only the tail, after the last
finished block, has to be laid out again when more arrives. Joined, the blocks and the tail are the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^ {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_ANY_FENCE = re.compile(r"^\s*(`{3,}(?=[^`]*$)|~{3,})")
_ITEM = re.compile(r"^ ?([-*+]|\d{1,9}[.)])(\s|$)")
_RULE = re.compile(r"^ {0,3}([-*_])( *\1){2,}\s*$")
_LONG = 4000
"""Characters of a paragraph after which it is cut at the next line, so that the tail stays short."""


@dataclass(frozen=True, slots=True)
class Block:
    """A finished piece of the text."""

    text: str
    kind: str
    """"text", "item" or "fence"."""
    is_cut: bool = False
    """Cut off because it was long: the next one follows without a gap."""

    @property
    def is_spaced(self) -> bool:
        """Whether a blank line follows in the text."""
        return self.text.endswith("\n\n") or self.text.rpartition("\n")[0].rpartition("\n")[2].isspace()


class BlockSplitter:
    """Takes a text that grows at its end."""

    def __init__(self) -> None:
        self.text = ""
        self._start = 0
        self._at = 0
        self._kind = "text"
        self._fence = ""
        self._after_blank = False

    @property
    def tail(self) -> str:
        """What may still change."""
        return self.text[self._start :]

    @property
    def tail_blocks(self) -> list[Block]:
        """The tail as the blocks it seems to hold: the last line may begin one."""
        whole, line = self.text[self._start : self._at], self.text[self._at :]
        if whole.strip() and self._begins_block(line):
            return [Block(whole, self._kind), Block(line, _kind_of(line))]
        kind = self._kind if whole else _kind_of(line)
        return [Block(whole + line, kind)] if (whole + line).strip() else []

    def feed(self, text: str) -> list[Block]:
        """Take all of the text, which begins with that of the call before; the blocks that this finished."""
        self.text = text
        blocks: list[Block] = []
        while (end := text.find("\n", self._at) + 1) > 0:
            line = text[self._at : end]
            if self._begins_block(line):
                self._cut(self._at, blocks)
            if self._at == self._start:
                self._kind = _kind_of(line)
            closed = self._note(line)
            self._at = end
            if closed:
                self._cut(end, blocks)
            elif not self._fence and self._kind == "text" and end - self._start > _LONG and "|" not in line:
                self._cut(end, blocks, is_cut=True)
        return blocks

    def _begins_block(self, line: str) -> bool:
        if self._at == self._start or self._fence or not line.strip():
            return False
        in_item, indented = self._kind == "item", line[:2].isspace()
        if _FENCE.match(line) and not (in_item and indented):
            return True
        if _ITEM.match(line) and not _RULE.match(line):
            number = line.lstrip()[0].isdigit()
            return in_item or self._after_blank or not number or line.lstrip().startswith(("1.", "1)"))
        return self._after_blank and not (in_item and indented)

    def _note(self, line: str) -> bool:
        """Follow fences and blank lines; whether this line closes a block of code."""
        self._after_blank = not line.strip()
        mark = _ANY_FENCE.match(line)
        if self._fence:
            closes = mark and mark[1].startswith(self._fence) and not line.strip(self._fence[0] + " \t\r\n")
            if closes:
                self._fence = ""
            return bool(closes) and self._kind == "fence"
        if mark:
            self._fence = mark[1]
        return False

    def _cut(self, end: int, blocks: list[Block], *, is_cut: bool = False) -> None:
        text = self.text[self._start : end]
        if text.strip() or not blocks:
            blocks.append(Block(text, self._kind, is_cut))
        else:
            blocks[-1] = Block(blocks[-1].text + text, blocks[-1].kind)
        self._start, self._after_blank, self._kind = end, False, "text"


def _kind_of(line: str) -> str:
    if _FENCE.match(line):
        return "fence"
    return "item" if _ITEM.match(line) and not _RULE.match(line) else "text"


def code_blocks(text: str) -> list[str]:
    """Collect the code of every fence of `text`, in order."""
    from markdown_it import MarkdownIt

    return [token.content for token in MarkdownIt().parse(text) if token.type == "fence"]
