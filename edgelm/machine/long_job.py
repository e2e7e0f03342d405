"""What every long job needs of the machine: that it stays awake, and that its GPU's watchdog is called by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgelm.machine.gpu.watchdog import watchdog_errors
from edgelm.machine.power import kept_awake


@contextmanager
def long_job(job: str, smaller: str) -> Iterator[None]:
    """Run the block, or the function this decorates, as a long job; jobs may lie in one another.

    Args:
        job: what it is called when it is ended: "the conversion".
        smaller: the setting by which it computes less at once.

    Raises:
        EngineError: the GPU's watchdog ended it.
    """
    with kept_awake(), watchdog_errors(job, smaller):
        yield
