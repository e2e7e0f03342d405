"""Flags that every command with answers has: how long they may be, and what form they must have."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare where an answer ends."""
    add = parser.add_argument
    add("--max-tokens", type=int, metavar="N", help="stop an answer after so many tokens")
    add(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="stop where this text appears (repeatable)",
    )


def add_form(group: argparse._ArgumentGroup) -> None:
    """Declare the form of an answer, of which one may be given; `form.form_of_answer` reads it."""
    form = group.add_mutually_exclusive_group()
    form.add_argument("--schema", type=Path, metavar="FILE", help="valid by this JSON Schema")
    form.add_argument("--regex", metavar="TEXT", help="matching this regular expression as a whole")
    form.add_argument("--grammar", type=Path, metavar="FILE", help="in the language of this Lark grammar")
