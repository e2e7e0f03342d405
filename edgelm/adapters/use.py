"""An adapter that somebody wants to act. Light: settings that name adapters are made without MLX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AdapterUse:
    """An adapter to load, and how strongly it acts."""

    directory: Path
    weight: float = 1.0

    @property
    def name(self) -> str:
        """Return the name of the adapter's directory."""
        return self.directory.absolute().name

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.name}={self.weight:g}"
