"""Tables in a pipe: tabs, no padding; facts without Python dictionaries."""

from __future__ import annotations

import pytest
from rich.table import Table
from rich.text import Text

from edgelm.cli.show.output import console


def test_a_table_in_a_pipe_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "size", "note", box=None, pad_edge=False)
    table.add_row(Text("a [b]"), Text("1 kB"), Text("two\nlines"))
    table.add_row("a name that is much longer", "93 MB", "")
    console().print(table)
    assert capsys.readouterr().out == (
        "name\tsize\tnote\na [b]\t1 kB\ttwo lines\na name that is much longer\t93 MB\n"
    )


def test_a_line_in_a_pipe_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(Text("x " * 200))
    assert capsys.readouterr().out.count("\n") == 1
