"""The clipboard of a Mac; elsewhere the terminal's own (OSC 52), which Terminal.app ignores."""

from __future__ import annotations

import os
import shutil
import subprocess


def copy_text(text: str) -> bool:
    """Copy through a program of this machine; False where there is none, or the terminal is a remote one."""
    if "SSH_TTY" in os.environ or (program := shutil.which("pbcopy")) is None:
        return False
    # pbcopy reads its input in the locale's encoding, and takes bytes beyond ASCII for Mac Roman without one.
    environment = {name: value for name, value in os.environ.items() if name != "LC_ALL"}
    environment["LC_CTYPE"] = "UTF-8"
    try:
        subprocess.run([program], input=text.encode(), env=environment, timeout=2, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True
