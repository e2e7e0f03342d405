"""Typed access to a GGUF file's key-values: the value, None where the key is absent, or FormatError.

Knows the shapes of values, not their meaning. A message names the key, the value and the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import FormatError

NO_TOKEN = 2**32 - 1
"""-1 as GGUF's uint32: how converters write that there is no such token."""


@dataclass(frozen=True)
class Metadata:
    """The key-values of one file, by full key ("tokenizer.ggml.tokens")."""

    values: Mapping[str, Any]
    origin: Path

    def text(self, key: str) -> str | None:
        """Read a string."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not is_unicode(value):
            raise self.refuse(key, value, "a string")
        return value

    def flag(self, key: str) -> bool | None:
        """Read a boolean; 0 and 1 are accepted, as llama.cpp's older writers used them."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or value not in (0, 1):
            raise self.refuse(key, value, "true or false")
        return bool(value)

    def token_id(self, key: str, count: int) -> int | None:
        """Read an index below `count`; 2**32 - 1 means none."""
        value = self.values.get(key)
        if value is None or value == NO_TOKEN:
            return None
        if not _is_int(value) or not 0 <= value < count:
            raise self.refuse(key, value, f"a token id from 0 to {count - 1}")
        return int(value)

    def texts(self, key: str) -> list[str] | None:
        """Read an array of strings."""
        values = self._array(key)
        for index, value in enumerate(values or ()):
            if not isinstance(value, str) or not is_unicode(value):
                raise self.refuse(f"{key}[{index}]", value, "a string")
        return values

    def numbers(self, key: str) -> list[float] | None:
        """Read an array of finite numbers."""
        values = self._array(key)
        for index, value in enumerate(values or ()):
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise self.refuse(f"{key}[{index}]", value, "a finite number")
        return values

    def integers(self, key: str, low: int, high: int) -> list[int] | None:
        """Read an array of integers from `low` to `high`."""
        values = self._array(key)
        for index, value in enumerate(values or ()):
            if not _is_int(value) or not low <= value <= high:
                raise self.refuse(f"{key}[{index}]", value, f"an integer from {low} to {high}")
        return values

    def refuse(self, key: str, value: object, expected: str) -> FormatError:
        """Make the error for a value that is not `expected`."""
        return FormatError(f"{key} is {shorten(value)}, expected {expected}: {self.origin}")

    def _array(self, key: str) -> list[Any] | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise self.refuse(key, value, "an array")
        return list(value)


def is_unicode(text: str) -> bool:
    """Tell whether `text` can be written as UTF-8: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shorten(value: object) -> str:
    """Write `repr` on one short line, whatever the size of the value."""
    shown = repr(value[:60]) if isinstance(value, str | bytes | list | tuple) else repr(value)
    return shown if len(shown) <= 80 else shown[:79] + "…"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
