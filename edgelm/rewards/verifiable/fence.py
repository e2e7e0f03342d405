"""How a process for a model's code is started without a network, by what the system offers."""

from __future__ import annotations

import sys
from pathlib import Path

_SEATBELT = Path("/usr/bin/sandbox-exec")


def fenced_command(script: Path, folder: Path) -> list[str]:
    """Return the command that runs `script`, which may write in `folder` alone where the system can hold it to that.

    macOS: `sandbox-exec` denies network and writing elsewhere. Linux: the script asks the kernel for a network namespace of its
    own (`sandbox.py`). Everywhere: the script's own audit hook.
    """
    python = [sys.executable, "-I", "-B", str(script)]
    if sys.platform == "darwin" and _SEATBELT.exists():
        return [str(_SEATBELT), "-p", _profile(folder), *python]
    return python


def _profile(folder: Path) -> str:
    place = str(folder.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    return (
        "(version 1)(allow default)(deny network*)(deny file-write*)"
        f'(allow file-write* (subpath "{place}") (literal "/dev/null"))'
    )
