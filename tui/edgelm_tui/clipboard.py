"""The clipboard of a Mac; elsewhere the terminal's own (OSC 52), which Terminal.app ignores."""

from __future__ import annotations

import os
import shutil
import subprocess


def copy_text(text: str) -> bool:
    """Copy through a program of this machine; False where there is none, or the terminal is a remote one."""
    if "SSH_TTY" in os.environ or (program := shutil.which("pbcopy")) is None:
        return False
    try:
        subprocess.run([program], input=text.encode(), timeout=2, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True
