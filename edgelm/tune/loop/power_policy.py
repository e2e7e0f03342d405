"""When a run lets its laptop be: is this machine on battery, hot, or short of memory right now.

macOS is asked through its own tools, Linux through /sys and /proc. What cannot be found out counts as fine. Parsers are pure
functions of what the system prints.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgelm.machine.programs import output_of

_EVERY_S = 10.0
"""Between two looks: each costs a process or two."""
_HEAVY = 2
"""Thermal pressure from which macOS slows everything down: 0 nominal, 1 moderate, 2 heavy."""
_WARN = 2
"""Memory pressure: 1 normal, 2 warn, 4 critical."""
_STALLED_PERCENT = 10.0

Look = Callable[[str], bool]
"""Whether a reason ("battery", "heat", "pressure") holds now."""


class PowerPolicy:
    """Whether to pause now.

    Args:
        reasons: those that count.
        look: how to find out; the machine itself by default.
        clock: seconds; looks are rationed by it.
    """

    def __init__(
        self,
        reasons: Sequence[str],
        look: Look | None = None,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = _EVERY_S,
    ) -> None:
        self._reasons = tuple(reasons)
        self._look = look or holds
        self._clock = clock
        self._every_s = every_s
        self._looked: float | None = None
        self._found: str | None = None

    def reason_to_pause(self) -> str | None:
        """Return the first reason that holds, None to go on."""
        now = self._clock()
        if self._reasons and (self._looked is None or now - self._looked >= self._every_s):
            self._looked = now
            self._found = next((reason for reason in self._reasons if self._look(reason)), None)
        return self._found


def holds(reason: str) -> bool:
    """Tell whether `reason` holds on this machine now."""
    if sys.platform == "darwin":
        return _MACOS[reason]()
    return _LINUX[reason]() if sys.platform == "linux" else False


def parse_pmset_battery(text: str) -> bool:
    """Read from `pmset -g batt` whether power comes from the battery."""
    return "'Battery Power'" in text


def parse_thermal_level(text: str) -> bool:
    """Read from `notifyutil -g com.apple.system.thermalpressurelevel` whether the machine slows down."""
    found = re.search(r"thermalpressurelevel\s+(\d+)", text)
    return found is not None and int(found[1]) >= _HEAVY


def parse_speed_limit(text: str) -> bool:
    """Read from `pmset -g therm`, on Intel, whether the CPU is held back."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", text)
    return found is not None and int(found[1]) < 100


def parse_pressure_level(text: str) -> bool:
    """Read from `sysctl -n kern.memorystatus_vm_pressure_level` whether memory is short."""
    return text.strip().isdigit() and int(text) >= _WARN


def parse_pressure_stall(text: str) -> bool:
    """Read from /proc/pressure/memory whether every process waited for memory for a tenth of the last ten seconds."""
    found = re.search(r"^full avg10=([\d.]+)", text, re.MULTILINE)
    return found is not None and float(found[1]) >= _STALLED_PERCENT


def on_battery_by(supplies: Path) -> bool:
    """Find in /sys/class/power_supply a battery that discharges, and no mains that is connected."""
    mains = [_read(path) == "1" for path in supplies.glob("*/online")]
    discharging = any(_read(path) == "Discharging" for path in supplies.glob("*/status"))
    return discharging and not any(mains)


def too_hot_by(zones: Path) -> bool:
    """Find in /sys/class/thermal a zone that is at one of its passive trip points, where Linux slows down."""
    for zone in zones.glob("thermal_zone*"):
        now = _read(zone / "temp")
        for kind in zone.glob("trip_point_*_type"):
            limit = _read(kind.with_name(kind.name.replace("_type", "_temp")))
            if _read(kind) == "passive" and now.isdigit() and limit.isdigit() and int(now) >= int(limit) > 0:
                return True
    return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


_MACOS: dict[str, Callable[[], bool]] = {
    "battery": lambda: parse_pmset_battery(output_of("/usr/bin/pmset", "-g", "batt")),
    "heat": lambda: (
        parse_thermal_level(output_of("/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel"))
        or parse_speed_limit(output_of("/usr/bin/pmset", "-g", "therm"))
    ),
    "pressure": lambda: parse_pressure_level(
        output_of("/usr/sbin/sysctl", "-n", "kern.memorystatus_vm_pressure_level")
    ),
}
_LINUX: dict[str, Callable[[], bool]] = {
    "battery": lambda: on_battery_by(Path("/sys/class/power_supply")),
    "heat": lambda: too_hot_by(Path("/sys/class/thermal")),
    "pressure": lambda: parse_pressure_stall(_read(Path("/proc/pressure/memory"))),
}
