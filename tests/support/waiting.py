"""Waiting for what other threads and processes do, for as long as a busy machine may take.

No test says how long something takes here: a wait ends when its condition holds, and gives up only when
nothing can still be expected.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE_S = 180.0
"""What any wait may take: far more than the slowest machine needs, less than a test's own limit (pyproject.toml)."""


def wait_for(
    look: Callable[[], Found], what: str = "it", *, process: subprocess.Popen[str] | None = None
) -> Found:
    """Look until what is seen is true, and return it.

    Raises:
        AssertionError: `process`, which was to bring it about, has ended, or patience has.
    """
    until = time.monotonic() + PATIENCE_S
    while not (result := look()):
        ended = process is not None and process.poll() is not None
        if ended and (result := look()):  # it came just before the end
            break
        assert not ended, f"{what} never came: the process has ended"
        assert time.monotonic() < until, f"{what} never came"
        time.sleep(0.01)
    return result
