"""What a program of the system prints, for those who read it. Parsers live with their readers."""

from __future__ import annotations

import subprocess

_TIMEOUT_S = 5.0


def output_of(*command: str) -> str:
    """Return what the program `command` (its path and arguments) prints on stdout; empty where it is not there or hangs."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
