"""How many sequences may run together: a count, and the bytes that their caches may take.

The bytes are what the device has left beside the model, halved, since caches are copied as they grow and as
sequences join and leave. Pure functions; the reports of other machines can be simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.device import Device, memory_budget_bytes
from edgelm.zoo.caches.shape import CacheShape

MOST_ROWS = 32
"""Beyond this the arithmetic, not memory bandwidth, bounds a laptop: more sequences add little speed."""

_GROWTH_TOKENS = 256
"""The steps in which mlx-lm's caches grow."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a batch may take."""

    rows: int
    size_bytes: int
    cache: CacheShape
    bytes_per_element: int

    def holds(self, rows: int, longest_tokens: int) -> bool:
        """Return whether `rows` sequences may run, the longest of which has `longest_tokens`; one always may."""
        tokens = -(-longest_tokens // _GROWTH_TOKENS) * _GROWTH_TOKENS
        needed = rows * self.cache.elements_at(tokens) * self.bytes_per_element
        return rows <= 1 or (rows <= self.rows and needed <= self.size_bytes)


def batch_budget_bytes(device: Device, in_use_bytes: int) -> int:
    """Return the bytes for the caches of a batch, beside `in_use_bytes` that MLX holds already.

    What is available off Metal no longer counts what this process holds; Metal's budget does.
    """
    budget = memory_budget_bytes(device)
    free = budget - in_use_bytes if device.backend == "metal" else budget
    return max(0, free) // 2
