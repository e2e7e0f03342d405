"""What an export wrote, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportComparison:
    """Logits of the file against the source's, as edgelm reads both."""

    mean_kl: float
    """Nats."""
    max_difference: float
    """The largest difference of logits, in shares of the largest logit."""
    tokens: int


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    files: tuple[Path, ...]
    size_bytes: int
    parameters: int
    types: Mapping[str, int]
    """Type → how many tensors are stored as it."""
    lost: Mapping[str, float]
    """Tensor → squared error over square of what it was; those that were kept as they were are not there."""
    notes: tuple[str, ...]
    comparison: ExportComparison | None
    """None where it was not asked for."""

    @property
    def bits_per_weight(self) -> float:
        """Return bits of the files for each parameter, everything included."""
        return self.size_bytes * 8 / self.parameters
