"""Python's garbage collector, kept from work that makes many objects and no garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python collect no cycles while the block runs: importing and parsing make objects that stay.

    Looking through all of them again and again takes a tenth of the time of importing transformers.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
