"""How much memory this machine has, and how much of it is free: Linux (containers too) and macOS.

Parsers are pure functions of the text that the system prints. Knows nothing about GPUs.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from edgelm.machine.programs import output_of

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that this process could ever have, and bytes it can have now without swapping."""

    total_bytes: int
    available_bytes: int


def measure_memory() -> Memory:
    """Return the memory of this machine, or of the container around this process."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "darwin":
        return Memory(physical, _available_on_macos(physical))
    if sys.platform == "linux":
        return bound_by_cgroup(_available_on_linux(physical), Path("/sys/fs/cgroup"))
    return Memory(physical, physical)


def _available_on_linux(physical: int) -> Memory:
    available = parse_meminfo(Path("/proc/meminfo").read_text(encoding="ascii", errors="replace"))
    return Memory(physical, physical if available is None else available)


def parse_meminfo(text: str) -> int | None:
    """Return the bytes of `MemAvailable` in /proc/meminfo."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def bound_by_cgroup(memory: Memory, root: Path) -> Memory:
    """Return `memory` within the limits of a control group, version 2 or 1, mounted at `root`."""
    for limit_file, usage_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, used = _read_count(root / limit_file), _read_count(root / usage_file)
        if limit is not None and limit < memory.total_bytes:
            left = max(0, limit - (used or 0))
            return Memory(limit, min(memory.available_bytes, left))
    return memory


def _read_count(path: Path) -> int | None:
    """The number in a control file; None if there is no such file or it says "max"."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _available_on_macos(physical: int) -> int:
    available = parse_vm_stat(output_of("/usr/bin/vm_stat"))
    return physical if available is None else min(available, physical)


def parse_vm_stat(text: str) -> int | None:
    """Return the bytes that macOS could hand out without swapping: free, inactive, speculative and purgeable pages."""
    page = re.search(r"page size of (\d+) bytes", text)
    counts = dict(re.findall(r"^Pages (\w+):\s+(\d+)\.", text, re.MULTILINE))
    if page is None or "free" not in counts:
        return None
    pages = sum(int(counts.get(kind, 0)) for kind in ("free", "inactive", "speculative", "purgeable"))
    return pages * int(page[1])
