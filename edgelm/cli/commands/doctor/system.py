"""What the operating system, its tools and the terminal say of themselves, and what edgelm reads from it."""

from __future__ import annotations

import os
import platform
import site
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgelm.cli.commands.doctor.checks import Check
from edgelm.machine import condition, power
from edgelm.machine.gpu import cores as gpu_cores
from edgelm.machine.memory import parse_vm_stat
from edgelm.machine.programs import output_of
from edgelm.tune.loop.power_policy import parse_pressure_level, parse_speed_limit
from edgelm.units import format_bytes

Ask = Callable[..., str]


@dataclass(frozen=True, slots=True)
class SystemTool:
    """A program of macOS that edgelm asks."""

    name: str
    command: tuple[str, ...]
    read: Callable[[str], str]
    """What edgelm takes from its answer, in words."""


def _sysctl(name: str, read: Callable[[str], str] = str.strip) -> SystemTool:
    return SystemTool(f"sysctl {name}", ("/usr/sbin/sysctl", "-n", name), read)


def _available(text: str) -> str:
    found = parse_vm_stat(text)
    return "nothing" if found is None else f"{format_bytes(found)} available"


TOOLS = (
    SystemTool("sw_vers", condition.SW_VERS, lambda text: condition.parse_sw_vers(text) or "nothing"),
    SystemTool("vm_stat", ("/usr/bin/vm_stat",), _available),
    SystemTool("pmset batt", condition.BATTERY, condition.parse_source),
    SystemTool("pmset", condition.PMSET, condition.parse_power_mode),
    SystemTool(
        "pmset therm",
        ("/usr/bin/pmset", "-g", "therm"),
        lambda text: "the CPU is held back" if parse_speed_limit(text) else "the CPU is not held back",
    ),
    SystemTool("notifyutil", condition.THERMAL, condition.parse_thermal),
    _sysctl(
        "kern.memorystatus_vm_pressure_level",
        lambda text: "memory is short" if parse_pressure_level(text) else "memory is not short",
    ),
    _sysctl("hw.memsize"),
    _sysctl("machdep.cpu.brand_string"),
    _sysctl("iogpu.wired_limit_mb"),
    _sysctl("kern.maxfilesperproc"),
    SystemTool(
        "ioreg", gpu_cores.COMMAND, lambda text: f"{gpu_cores.parse_gpu_cores(text) or 'unknown'} GPU cores"
    ),
)


def tool_checks(ask: Ask = output_of) -> Iterator[Check]:
    """Ask every tool: its answer, whole, and what was read from it; one that says nothing is warned of."""
    for tool in TOOLS:
        answer = ask(*tool.command).strip()
        if answer:
            yield Check(tool.name, "ok", tool.read(answer), raw=answer)
        else:
            yield Check(tool.name, "warn", "said nothing", f"run it by hand: {' '.join(tool.command)}")


def check_architecture(
    machine: str | None = None, *, is_mac: bool | None = None, ask: Ask = output_of
) -> Check:
    """Check that this Python is native: one for x86_64 runs under Rosetta on Apple silicon, where MLX does not run."""
    machine = machine or platform.machine()
    is_mac = sys.platform == "darwin" if is_mac is None else is_mac
    if is_mac and machine == "x86_64":
        translated = ask("/usr/sbin/sysctl", "-n", "sysctl.proc_translated").strip() == "1"
        value = "x86_64 under Rosetta" if translated else "x86_64"
        return Check(
            "architecture", "warn", value, "install a Python for arm64: MLX runs on no other on a Mac"
        )
    return Check("architecture", "ok", machine)


def check_power_assertion() -> Check:
    """Check that this Mac can be kept awake."""
    if sys.platform != "darwin":
        return Check("power assertion", "ok", "only a Mac is kept awake during long jobs")
    with power.kept_awake():
        held = power.is_held()
    if held:
        return Check("power assertion", "ok", f"held during long jobs by {power.CAFFEINATE}")
    remedy = f"see whether {power.CAFFEINATE} -i runs; until then this Mac may sleep in the middle of a job"
    return Check("power assertion", "warn", "cannot be held", remedy)


def site_directories() -> list[Path]:
    """List where this Python looks for .pth files."""
    return [Path(text) for text in {*site.getsitepackages(), site.getusersitepackages()}]


def check_hidden_pth(directories: Iterable[Path], is_hidden: Callable[[Path], bool] | None = None) -> Check:
    """Warn of hidden .pth files, which CPython skips (#148121): an editable installation vanishes in iCloud Drive so."""
    hides = is_hidden or _is_hidden
    hidden = [path for directory in directories for path in sorted(directory.glob("*.pth")) if hides(path)]
    if not hidden:
        return Check("hidden .pth", "ok", "none")
    remedy = f"chflags nohidden {' '.join(map(str, hidden))}, or keep the folder out of iCloud Drive"
    return Check("hidden .pth", "warn", ", ".join(path.name for path in hidden), remedy)


def _is_hidden(path: Path) -> bool:
    flags = int(getattr(path.lstat(), "st_flags", 0))
    return bool(flags & stat.UF_HIDDEN) or path.name.startswith(".")


def check_terminal(environment: dict[str, str] | None = None) -> Check:
    """Say which locale and colours the terminal claims to have."""
    known = dict(os.environ) if environment is None else environment
    names = ("LC_ALL", "LC_CTYPE", "LANG", "TERM", "COLORTERM", "TERM_PROGRAM", "NO_COLOR")
    value = ", ".join(f"{name}={known[name]}" for name in names if known.get(name)) or "says nothing"
    locale = next((known[name] for name in names[:3] if known.get(name)), "")
    if locale and "utf-8" not in locale.lower() and "utf8" not in locale.lower():
        return Check("terminal", "warn", value, "export LANG=en_US.UTF-8: other encodings lose characters")
    return Check("terminal", "ok", value)


def check_former_caches() -> Iterator[Check]:
    """Name caches of an earlier edgelm that could not be moved."""
    from edgelm import paths

    former = paths.former_caches()
    if former != paths.caches() and former.is_dir():
        yield Check("former caches", "warn", f"unused: {former}", f"rm -r '{former}' gives their room back")
