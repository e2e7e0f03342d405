"""Typed reads from a GGUF file's metadata, where any key may be missing or hold anything.

Knows types and bounds, not what a key means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import FormatError

MAX_SIZE = 2**31 - 1
MAX_FLOAT32 = 3.4e38


@dataclass(frozen=True, slots=True)
class Keys:
    """Metadata of one architecture: `size("block_count")` reads "llama.block_count".

    Raises:
        FormatError: from any method, for a required key that is missing or a value of the wrong kind.
    """

    metadata: Mapping[str, Any]
    architecture: str
    path: Path
    asked: set[str] = field(default_factory=set, compare=False, repr=False)
    """Keys of the architecture that were looked up, in full."""

    def size(self, key: str, default: int | None = None) -> int:
        """Read a positive integer; a per-layer list counts if all layers agree."""
        value = self._find(key, default)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]
        return self._integer(f"{self.architecture}.{key}", value, least=1)

    def count(self, key: str) -> int:
        """Read an integer from 0, which a missing key means."""
        return self._integer(f"{self.architecture}.{key}", self._find(key, 0), least=0)

    def number(self, key: str, default: float | None = None) -> float:
        """Read a finite number: the shortest decimal that rounds to the float32 stored."""
        value = self._find(key, default)
        if not _is_number(value):
            raise self._wrong(f"{self.architecture}.{key}", value, "a finite number")
        return _shortest(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """Read a finite number above 0."""
        value = self.number(key, default)
        if value <= 0:
            raise self._wrong(f"{self.architecture}.{key}", value, "a number above 0")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Read a truth value."""
        value = self._find(key, default)
        if not isinstance(value, bool):
            raise self._wrong(f"{self.architecture}.{key}", value, "true or false")
        return value

    def sizes(self, key: str, layers: int, default: int | None = None, *, least: int = 1) -> tuple[int, ...]:
        """Read a number from `least` for each of the `layers`: a list, or one that all share."""
        value = self._find(key, default)
        name = f"{self.architecture}.{key}"
        values = value if isinstance(value, list) else [value] * layers
        if len(values) < layers:
            raise self._wrong(name, value, f"one or {layers} numbers")
        return tuple(self._integer(name, each, least) for each in values[:layers])

    def numbers(self, key: str, layers: int) -> list[float]:
        """Read a finite number for each of the `layers`, which the file has in a list, or one that all share."""
        value = self._find(key, None)
        values = value if isinstance(value, list) else [value] * layers
        if len(values) < layers or not all(_is_number(each) for each in values):
            raise self._wrong(f"{self.architecture}.{key}", value, f"one or {layers} finite numbers")
        return [_shortest(each) for each in values[:layers]]

    def flags_or_period(self, key: str, layers: int, default: int) -> list[bool] | int:
        """Read a truth value for each of the `layers`, or a number of layers after which a pattern repeats."""
        value = self._find(key, default)
        if not isinstance(value, list):
            return self._integer(f"{self.architecture}.{key}", value, least=1)
        flags = value[:layers]
        if len(flags) < layers or not all(isinstance(each, bool | int) and each in (0, 1) for each in flags):
            raise self._wrong(
                f"{self.architecture}.{key}", value, f"true or false for each of {layers} layers"
            )
        return [bool(each) for each in flags]

    def raw(self, key: str) -> Any:
        """Return what the architecture's `key` holds, None where it is missing."""
        return self._find(key, _MISSING) if self.has(key) else None

    def unread(self) -> dict[str, Any]:
        """Return the architecture's keys that nothing asked for, without its name, and what they hold."""
        start = f"{self.architecture}."
        names = (name for name in self.metadata if name.startswith(start) and name not in self.asked)
        return {name.removeprefix(start): self.metadata[name] for name in names}

    def text(self, key: str) -> str | None:
        """Read a general key (written out in full) that holds text, if it is there."""
        self.asked.add(key)
        value = self.metadata.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, value, "text")
        return value

    def token(self, key: str) -> int | None:
        """Read a token id of the tokenizer ("eos" reads "tokenizer.ggml.eos_token_id"), if it is there."""
        name = f"tokenizer.ggml.{key}_token_id"
        value = self.metadata.get(name)
        # llama.cpp writes -1 (as an unsigned number) for a token that does not exist.
        if value is None or value in (-1, 0xFFFFFFFF):
            return None
        return self._integer(name, value, least=0)

    def has(self, key: str) -> bool:
        """Tell whether the architecture's `key` is there."""
        return f"{self.architecture}.{key}" in self.metadata

    def _find(self, key: str, default: Any) -> Any:
        name = f"{self.architecture}.{key}"
        self.asked.add(name)
        if name not in self.metadata and default is None:
            raise FormatError(f"{self.path} has no metadata key {name!r}")
        return self.metadata.get(name, default)

    def _integer(self, name: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_SIZE:
            raise self._wrong(name, value, f"a number from {least} to {MAX_SIZE}")
        return value

    def _wrong(self, name: str, value: Any, expected: str) -> FormatError:
        return FormatError(f"{self.path} has {name} {str(value)[:80]!r}, expected {expected}")


_MISSING = object()


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) < MAX_FLOAT32


def _shortest(value: float) -> float:
    """The shortest decimal that rounds to the float32 stored."""
    return float(str(np.float32(value))) if isinstance(value, float) else float(value)
