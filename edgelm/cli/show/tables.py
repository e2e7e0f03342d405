"""Tables that a pipe can read: aligned on a terminal, tab-separated without padding off one. Knows no command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


class PipeConsole(Console):
    """rich for a stream that is no terminal: a table becomes lines of cells with tabs between."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, tables apart."""
        for item in objects:
            if isinstance(item, Table):
                for line in tab_separated(item):
                    self.file.write(f"{line}\n")
            else:
                super().print(item, soft_wrap=True, **options)


def tab_separated(table: Table) -> Iterator[str]:
    """List the rows of `table`, its heading first if it has one; a cell is one line, and none ends in spaces."""
    columns = [list(column.cells) for column in table.columns]
    if table.show_header:
        yield "\t".join(_plain(column.header) for column in table.columns).rstrip("\t")
    for row in zip(*columns, strict=True):
        yield "\t".join(map(_plain, row)).rstrip("\t")


def _plain(cell: Any) -> str:
    text = cell.plain if isinstance(cell, Text) else str(cell)
    return " ".join(text.split())
