"""The clock of a time budget counts sleep, on each system by that system's own clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from edgelm.machine import clock


def of(found: dict[object, float]) -> Callable[[object], float]:
    return lambda which: found[which]


def test_each_system_is_asked_for_the_clock_that_counts_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock.time, "CLOCK_MONOTONIC_RAW", "raw", raising=False)
    monkeypatch.setattr(clock.time, "CLOCK_BOOTTIME", "boot", raising=False)
    monkeypatch.setattr(clock.time, "clock_gettime", of({"raw": 30_000.0, "boot": 40_000.0}))
    monkeypatch.setattr(clock.sys, "platform", "darwin")
    assert clock.passed_s() == 30_000
    monkeypatch.setattr(clock.sys, "platform", "linux")
    assert clock.passed_s() == 40_000


def test_it_never_goes_back() -> None:
    read = [clock.passed_s() for _ in range(100)]
    assert read == sorted(read)


@pytest.mark.skipif(sys.platform != "linux", reason="clocks of Linux")
def test_on_linux_it_is_ahead_of_the_clock_that_stands_still() -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert clock.passed_s() >= before
