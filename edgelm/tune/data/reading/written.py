"""A row as it was written, before anyone asks what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.tune.data.rows import RowOrigin


@dataclass(frozen=True, slots=True)
class Written:
    """One object of a file, by its keys."""

    value: Mapping[str, Any]
    origin: RowOrigin
