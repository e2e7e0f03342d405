"""Actions of a command (`edgelm models pull`): how each is declared. Knows no command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


def add_action(
    actions: Any, name: str, text: str, run_it: Any, *, aliases: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Declare an action of `actions` (from `add_subparsers`) that calls `run_it(arguments)`."""
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text, aliases=aliases)
    parser.set_defaults(action=run_it)
    add_json(parser, default=argparse.SUPPRESS)
    # Taken before the action too; here only so that it may also stand last.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def add_json(parser: argparse.ArgumentParser, *, default: Any = False) -> None:
    """Declare `--json`."""
    parser.add_argument("--json", action="store_true", default=default, help="print JSON on stdout")
