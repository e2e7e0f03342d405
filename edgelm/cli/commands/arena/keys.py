"""One key at a time where the terminal allows it, else a letter and Enter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Read = Callable[[], str]
END = ""
"""What is read at the end of the input."""


@contextmanager
def key_reader() -> Iterator[Read]:
    """Give a function that waits for a key and returns its letter, in lower case; `END` when there are no more."""
    try:
        import termios
        import tty
    except ImportError:  # no POSIX terminal
        yield _line
        return
    if not sys.stdin.isatty() or os.environ.get("TERM") == "dumb":
        yield _line
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        # What was typed ahead stays: votes may come faster than screens.
        tty.setcbreak(number, termios.TCSANOW)
        yield lambda: _key(number)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _key(number: int) -> str:
    pressed = os.read(number, 1)
    if pressed == b"\x1b":  # an arrow or a function key: its other bytes are no letters
        _drop_sequence(number)
        return " "
    return END if pressed in (b"", b"\x04") else pressed.decode("utf-8", "replace").lower()


def _drop_sequence(number: int) -> None:
    import select

    while select.select([number], [], [], 0.01)[0]:
        if os.read(number, 1).isalpha():
            return


def _line() -> str:
    line = sys.stdin.readline()
    return END if not line else (line.strip().lower()[:1] or " ")
