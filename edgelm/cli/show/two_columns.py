"""Labels and values in two columns on a terminal, with tabs between them in a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from edgelm.cli.show.output import console


def print_two_columns(rows: Iterable[tuple[str, str]]) -> None:
    """Print (label, value) rows on stdout; values are printed to the letter and folded where there is no room."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, Text(value))
    console().print(table)
