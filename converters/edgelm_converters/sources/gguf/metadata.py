"""Typed reads from a GGUF file's metadata, where any key may be missing or hold anything.

Knows types and bounds, not what a key means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_FLOAT32:
            raise self._wrong(f"{self.architecture}.{key}", value, "a finite number")
        return float(str(np.float32(value))) if isinstance(value, float) else float(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """Read a finite number above 0."""
        value = self.number(key, default)
        if value <= 0:
            raise self._wrong(f"{self.architecture}.{key}", value, "a number above 0")
        return value

    def text(self, key: str) -> str | None:
        """Read a general key (written out in full) that holds text, if it is there."""
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
        if name not in self.metadata and default is None:
            raise FormatError(f"{self.path} has no metadata key {name!r}")
        return self.metadata.get(name, default)

    def _integer(self, name: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_SIZE:
            raise self._wrong(name, value, f"a number from {least} to {MAX_SIZE}")
        return value

    def _wrong(self, name: str, value: Any, expected: str) -> FormatError:
        return FormatError(f"{self.path} has {name} {str(value)[:80]!r}, expected {expected}")
