"""The condition of a machine while something is measured on it: system build, power, heat, and how float32 is multiplied.

Parsers are pure functions of what macOS's tools print.
"""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass

from edgelm.machine.precision import uses_tf32
from edgelm.machine.programs import output_of

SW_VERS = ("/usr/bin/sw_vers",)
PMSET = ("/usr/bin/pmset", "-g")
BATTERY = ("/usr/bin/pmset", "-g", "batt")
THERMAL = ("/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel")

_THERMAL_LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""Levels of `com.apple.system.thermalpressurelevel` on macOS (OSThermalNotification.h)."""
_POWER_MODES = ("automatic", "low power", "high power")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a machine was doing and set to while a figure was measured."""

    system: str
    """"macOS 26.1 (25B78)"."""
    power: str
    """"mains, automatic"; "unknown" off macOS."""
    thermal: str
    """"nominal" to "sleeping"; "unknown" off macOS."""
    tf32: bool
    """Whether float32 products may be TF32 on hardware that has it."""

    def line(self) -> str:
        """Return the whole condition on one line."""
        tf32 = "allowed" if self.tf32 else "off"
        return f"{self.system}; power {self.power}; thermal pressure {self.thermal}; TF32 {tf32}"


def condition() -> Condition:
    """Return the condition that the machine is in now."""
    if sys.platform != "darwin":
        system = f"{platform.system()} {platform.release()}"
        return Condition(system, "unknown", "unknown", uses_tf32())
    system = parse_sw_vers(output_of(*SW_VERS)) or f"macOS {platform.mac_ver()[0]}"
    power = f"{parse_source(output_of(*BATTERY))}, {parse_power_mode(output_of(*PMSET))}"
    return Condition(system, power, parse_thermal(output_of(*THERMAL)), uses_tf32())


def parse_sw_vers(text: str) -> str | None:
    """Return the system that `sw_vers` prints: "macOS 26.1 (25B78)"."""
    facts = dict(re.findall(r"^(\w+):\s*(.+?)\s*$", text, re.MULTILINE))
    if "ProductVersion" not in facts:
        return None
    return f"{facts.get('ProductName', 'macOS')} {facts['ProductVersion']} ({facts.get('BuildVersion', '?')})"


def parse_power_mode(text: str) -> str:
    """Return the power mode in `pmset -g`: its `powermode` (0, 1, 2), or `lowpowermode` on Macs that have no high one."""
    match = re.search(r"^\s*powermode\s+(\d)", text, re.MULTILINE) or re.search(
        r"^\s*lowpowermode\s+([01])", text, re.MULTILINE
    )
    return _named(_POWER_MODES, match[1] if match else None)


def parse_source(text: str) -> str:
    """Return where power comes from by `pmset -g batt`: "battery" or "mains"."""
    if "'Battery Power'" in text:
        return "battery"
    return "mains" if "'AC Power'" in text else "unknown"


def parse_thermal(text: str) -> str:
    """Return the name of the level that `notifyutil -g com.apple.system.thermalpressurelevel` prints."""
    match = re.search(r"thermalpressurelevel\s+(\d+)", text)
    return _named(_THERMAL_LEVELS, match[1] if match else None)


def _named(names: tuple[str, ...], number: str | None) -> str:
    if number is None:
        return "unknown"
    return names[int(number)] if int(number) < len(names) else f"level {number}"
