"""Where a run is: with the weights and the optimizer state, all that the next step depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Position:
    """Where a run is: plain values."""

    step: int = 0
    """Updates done."""
    epoch: int = 0
    batch: int = 0
    """Batches of that epoch already used."""
    total_steps: int | None = None
    validate_every: int | None = None
    elapsed_s: float = 0.0
    """Seconds of training; pauses do not count."""
    tokens: int = 0
    targets: int = 0
    average: float = 0.0
    """The exponential moving average of the loss."""
    best_loss: float | None = None
    best_step: int | None = None
    stale: int = 0
    """Validations since the best."""
    is_validated: bool = False
    """Whether the loss before the first step was measured."""
    first_chosen: float | None = None
    """What held-out answers to prefer had before the first step, in nats a token; None where a reference says it."""
