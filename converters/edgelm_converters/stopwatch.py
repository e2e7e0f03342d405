"""Where the time of a conversion goes: the whole, and each long step of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgelm.machine import clock


class Stopwatch:
    """Runs from when it is made; time asleep counts, as it does for whoever waits."""

    def __init__(self) -> None:
        self._began = clock.passed_s()
        self._steps: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what the block takes to `name`, also where it fails."""
        began = clock.passed_s()
        try:
            yield
        finally:
            self._steps[name] = self._steps.get(name, 0.0) + clock.passed_s() - began

    @property
    def elapsed_s(self) -> float:
        """Seconds of the whole so far."""
        return clock.passed_s() - self._began

    def steps(self) -> dict[str, float]:
        """Return the seconds of each step so far, in the order in which they began."""
        return {name: round(seconds, 2) for name, seconds in self._steps.items()}
