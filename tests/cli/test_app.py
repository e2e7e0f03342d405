"""`edgelm` without a command, on a pseudo-terminal: the app opens, takes keys, and leaves the terminal as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Open = Callable[..., Any]
_ALTERNATE_SCREEN_OFF = "\x1b[?1049l"


def test_the_app_opens_and_closes(terminal: Open) -> None:
    screen = terminal()
    screen.wait_for("F2 Chat")
    screen.wait_for("No model is installed yet")
    screen.send("\x1b[13~")  # F3
    screen.wait_for("The library is empty")
    screen.send("\x11")
    assert screen.wait() == 0
    assert _ALTERNATE_SCREEN_OFF in screen.output
    assert "Traceback" not in screen.output


def test_without_a_terminal_it_says_how_it_is_used(edgelm: Callable[..., Any]) -> None:
    done = edgelm()
    assert done.returncode == 2
    assert "commands:" in done.stderr
    assert "--web" in done.stderr
