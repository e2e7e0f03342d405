"""Rows given in memory, kept as a file: a run that is resumed in another process reads its data again.

The file is named by its content, so that the same rows are kept once. Knows nothing about what rows mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import atomic_write, disk_errors
from edgelm.errors import OptionError


def keep_rows(rows: Iterable[Any]) -> Path:
    """Write `rows` to JSON lines under `paths.rows()`; returns the file.

    Raises:
        OptionError: no rows, or one that is no mapping of JSON's own types.
        OutputError: the disk refuses.
    """
    lines = [_line(number, row) for number, row in enumerate(rows)]
    if not lines:
        raise OptionError("data holds no rows, expected examples as mappings")
    text = "\n".join(lines) + "\n"
    file = paths.rows() / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
    if not file.exists():
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, text)
    return file


def _line(number: int, row: Any) -> str:
    if not isinstance(row, Mapping):
        raise OptionError(f"row {number} of data is {row!r}, expected a mapping")
    try:
        line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False)
        line.encode()
    except (
        TypeError,
        ValueError,
        RecursionError,
    ) as error:  # a surrogate's UnicodeEncodeError is a ValueError
        raise OptionError(f"row {number} of data cannot be written as JSON: {error}") from error
    return line
