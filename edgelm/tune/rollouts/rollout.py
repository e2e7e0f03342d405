"""One sampled answer, and a group of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Rollout:
    """An answer as it was drawn."""

    tokens: npt.NDArray[np.int32]
    """[T] ids, a final stop token included."""
    log_probs: npt.NDArray[np.float32]
    """[T], in nats, under the distribution that each token was drawn from."""
    text: str
    """The answer, without thinking."""
    is_cut_off: bool
    """Whether it ended at the longest that it may be, not by itself."""


@dataclass(frozen=True, eq=False)
class RolloutGroup:
    """The answers to one question, and their rewards once they were judged."""

    question: int
    """Which row."""
    rollouts: tuple[Rollout, ...]
    rewards: tuple[float | None, ...] | None = None
    parts: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Each reward's own numbers."""
