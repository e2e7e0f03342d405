"""The prompt in the user's own editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from edgelm.atomic import disk_errors
from edgelm.errors import OptionError


def edit_text(text: str) -> str:
    """Open $VISUAL or $EDITOR on `text` and return what was saved; the terminal must be free.

    Raises:
        OptionError: there is no such editor, or it failed.
        OutputError: the disk refuses.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise OptionError(f"the editor {command!r} cannot be read: {error}", hint="set $EDITOR") from error
    with tempfile.TemporaryDirectory(prefix="edgelm-") as directory:
        file = Path(directory, "prompt.md")
        with disk_errors(file):
            file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*argv, str(file)], check=False)
        except OSError as error:
            raise OptionError(
                f"the editor {command!r} cannot be started: {error.strerror}", hint="set $EDITOR"
            ) from error
        if done.returncode != 0:
            raise OptionError(f"the editor {command!r} ended with {done.returncode}; the prompt is as it was")
        try:
            return file.read_text(encoding="utf-8", errors="replace").rstrip("\n")
        except OSError as error:
            raise OptionError(f"the editor {command!r} left no text; the prompt is as it was") from error
