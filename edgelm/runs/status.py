"""What a run is doing, in the words that the app, the command line and Python share, and a run in one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["running", "paused", "finished", "stopped", "failed", "interrupted"]
"""A process trains it or lets it wait; it came to its end; it was told to stop; an error ended it; its process is gone, and
nobody knows why. The last three can be resumed."""


@dataclass(frozen=True)
class RunSummary:
    """A run as it is listed and compared."""

    name: str
    created: str
    """ISO 8601, to the second."""
    model: str
    base_sha256: str
    data: str
    data_sha256: str
    method: str
    config: dict[str, Any]
    """The request: model, data and settings."""
    directory: str
    status: Status
    step: int
    total_steps: int | None
    loss: float | None
    """The smoothed training loss."""
    best_loss: float | None
    """The lowest validation loss."""
    first_loss: float | None
    """The validation loss before the first step."""
    adapter: str | None
    """The directory of the result, once there is one."""
    error: str | None
    """What ended the run, where an error did."""
