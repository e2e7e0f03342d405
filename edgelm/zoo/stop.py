"""The question that long work asks between two steps: whether anybody still waits for it."""

from __future__ import annotations

import threading

from edgelm.errors import Interrupted


def check_stop(stop: threading.Event | None) -> None:
    """End what nobody waits for any more.

    Raises:
        Interrupted: `stop` was set.
    """
    if stop is not None and stop.is_set():
        raise Interrupted("loading was stopped")
