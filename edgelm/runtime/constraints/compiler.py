"""The door to llguidance: what it raises on a grammar that it does not take becomes an error of edgelm's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgelm.errors import UnsupportedError


@contextmanager
def compiler_errors() -> Iterator[None]:
    """Name what the compiler raises.

    Raises:
        UnsupportedError: it raised one of Python's own errors.
    """
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OverflowError, MemoryError, UnicodeError) as error:
        raise UnsupportedError(f"the grammar cannot be compiled: {error}") from error
