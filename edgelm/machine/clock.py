"""Seconds that pass also while the machine sleeps.

`time.monotonic` stands still in sleep: on macOS it is `mach_absolute_time`, on Linux `CLOCK_MONOTONIC`. macOS counts sleep in
`CLOCK_MONOTONIC_RAW` (`mach_continuous_time`; its `CLOCK_UPTIME_RAW` does not), Linux in `CLOCK_BOOTTIME` (its
`CLOCK_MONOTONIC_RAW` does not). Neither follows a wall clock that is set. Sources: clock_gettime(3) of both.
"""

from __future__ import annotations

import sys
import time


def passed_s() -> float:
    """Return the seconds since some moment, those asleep included; never less than before."""
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
