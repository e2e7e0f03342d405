"""Actions of a command (`edgelm models pull`): how each is declared. Knows no command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
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


def add_force(parser: argparse._ActionsContainer) -> None:
    """Declare `--force` of a command that writes a file for the user."""
    parser.add_argument("--force", action="store_true", help="replace a file that is there already")


def check_file(path: Path | str | None, arguments: argparse.Namespace) -> None:
    """Refuse a file that is there already, before anything costly runs.

    Raises:
        OutputError: it is, and `--force` was not given; or it is a directory.
    """
    from edgelm.atomic import refuse_existing
    from edgelm.errors import OutputError

    if path is None:
        return
    target = Path(path).expanduser()
    if target.is_dir():
        raise OutputError(f"{target} is a directory, expected the name of a file")
    if not arguments.force:
        refuse_existing(target, hint="--force replaces it, or choose another name")


def add_json(parser: argparse.ArgumentParser, *, default: Any = False) -> None:
    """Declare `--json`, for programs that read the result."""
    parser.add_argument("--json", action="store_true", default=default, help="print JSON on stdout")
