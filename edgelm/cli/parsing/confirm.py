"""Asking before something is destroyed: on a terminal a question, in a script `--yes`."""

from __future__ import annotations

import argparse
import sys

from edgelm.errors import OptionError


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Declare `--yes`, which leaves the question out."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask whether it is to be done.

    Raises:
        OptionError: there is nobody to ask, and `--yes` was not given.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise OptionError("this asks first, and stdin is not a terminal", hint="--yes goes on without asking")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        print(file=sys.stderr)
        return False
