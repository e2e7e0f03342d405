"""What was computed of requests that share steps, on its way into the pool, and from there onto its disk.

Nothing is waited for where a request ends: its caches are copied by the device meanwhile, and the pool takes them where the
device is waited for anyhow. The disk gets a stretch at a time, so that writing a long prompt holds up a stream no longer than
computing a part of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from edgelm.runtime.cache.live import WORTH_KEEPING
from edgelm.runtime.cache.pool import Pool, common_prefix
from edgelm.runtime.runner import Layers
from edgelm.runtime.sequence import ActiveRequest

_STRETCH_TOKENS = 512
"""Written at once while others wait."""


class Bank:
    """What is still to be kept.

    Args:
        pool: what was computed of any prompt.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._banked: list[tuple[str, list[int], Layers]] = []
        self._unwritten: deque[tuple[str, list[int]]] = deque()

    @property
    def has_unwritten(self) -> bool:
        """Whether something in the pool may not be on its disk."""
        return bool(self._unwritten)

    def add(self, variant: str, tokens: list[int], copied: Callable[[], Layers]) -> None:
        """Keep what caches hold of `tokens`, if enough of it is new; `copied` gives them once it is."""
        if len(tokens) - self._pool.match(variant, tokens).length >= WORTH_KEEPING:
            self._banked.append((variant, tokens, copied()))
        else:
            self.note(variant, tokens)

    def store(self) -> None:
        """Give the pool what was added; waits for the device."""
        banked, self._banked = self._banked, []
        for variant, tokens, layers in banked:
            self.put(variant, tokens, layers)

    def put(self, variant: str, tokens: list[int], layers: Layers) -> None:
        """Give the pool what `layers` hold of `tokens`; waits for the device."""
        self._pool.store(variant, tokens, layers)
        self.note(variant, tokens)

    def most_shared(self, newcomer: ActiveRequest, running: Sequence[ActiveRequest]) -> int | None:
        """Return which of those who run has computed most of what one who comes begins with; None if the pool has as much."""
        if not self._pool.cuts_anywhere or not running:
            return None
        wanted, variant = newcomer.keys[:-1], newcomer.variant.key
        shared = [common_prefix(each.keys, wanted) if each.variant.key == variant else 0 for each in running]
        most = max(shared)
        return (
            shared.index(most) if most - self._pool.match(variant, wanted).length >= WORTH_KEEPING else None
        )

    def note(self, variant: str, tokens: list[int]) -> None:
        """Have what the pool knows of `tokens` written."""
        if self._pool.has_disk:
            self._unwritten.append((variant, tokens))

    def write_some(self) -> None:
        """Write one stretch to the disk.

        Raises:
            OutputError: the disk refuses; what it refused is not tried again.
        """
        while self._unwritten:
            variant, tokens = self._unwritten.popleft()
            if self._pool.write_down(variant, tokens, most=_STRETCH_TOKENS):
                self._unwritten.appendleft((variant, tokens))
                return

    def write_all(self) -> None:
        """Write everything to the disk.

        Raises:
            OutputError: the disk refuses; what it refused is not tried again.
        """
        while self._unwritten:
            self._pool.write_down(*self._unwritten.popleft())

    def clear(self) -> None:
        """Forget what was not stored yet."""
        self._banked.clear()
