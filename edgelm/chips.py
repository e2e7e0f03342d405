"""Apple's chips: their names, generations and memory bandwidth. Knows nothing about this machine.

Bandwidth is Apple's published figure. Where a chip ships with two memory systems, the number of CPU
cores tells them apart, and the lower figure is stated where it is not known.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from edgelm.errors import OptionError

_GB_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip as Apple sells it, e.g. `Chip("M3 Max", 3, 300e9, 400e9, 16)`."""

    name: str
    generation: int
    bandwidth_bytes_per_s: int
    """Of the smaller version, where there are two."""
    full_bandwidth_bytes_per_s: int
    full_cpu_cores: int = 0
    """CPU cores from which the chip has the full bandwidth."""

    def bandwidth_with(self, cpu_cores: int | None) -> int:
        """Bytes per second of the version with `cpu_cores`; the lower figure if that is None."""
        if cpu_cores is not None and cpu_cores >= self.full_cpu_cores:
            return self.full_bandwidth_bytes_per_s
        return self.bandwidth_bytes_per_s


def _chip(name: str, low: int, high: int | None = None, full_cpu_cores: int = 0) -> Chip:
    return Chip(name, int(name[1]), low * _GB_PER_S, (high or low) * _GB_PER_S, full_cpu_cores)


CHIPS = (
    _chip("M1", 68), _chip("M1 Pro", 200), _chip("M1 Max", 400), _chip("M1 Ultra", 800),
    _chip("M2", 100), _chip("M2 Pro", 200), _chip("M2 Max", 400), _chip("M2 Ultra", 800),
    _chip("M3", 100), _chip("M3 Pro", 150), _chip("M3 Max", 300, 400, 16), _chip("M3 Ultra", 800),
    _chip("M4", 120), _chip("M4 Pro", 273), _chip("M4 Max", 410, 546, 16),
    _chip("M5", 153),
)  # fmt: skip


def find_chip(name: str) -> Chip | None:
    """The chip called `name` ("M3 Pro", "Apple M3 Pro", "m3pro"), None if it is not in the table."""
    wanted = _plain(name)
    return next((chip for chip in CHIPS if _plain(chip.name) == wanted), None)


def require_chip(name: str) -> Chip:
    """The chip called `name`.

    Raises:
        OptionError: there is no such chip; the nearest names are suggested.
    """
    chip = find_chip(name)
    if chip is not None:
        return chip
    names = [known.name for known in CHIPS]
    near = difflib.get_close_matches(name.strip().upper().removeprefix("APPLE "), names, n=3, cutoff=0.5)
    raise OptionError(
        f"chip is {name!r}, expected one of {', '.join(names)}",
        hint=f"did you mean {' or '.join(map(repr, near))}?" if near else None,
    )


def generation_of(name: str) -> int | None:
    """3 for "Apple M3 Pro", also for a chip newer than the table; None if it is not Apple's M line."""
    found = re.match(r"(?:apple\s+)?m(\d+)\b", name.strip(), re.IGNORECASE)
    return int(found[1]) if found else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower().removeprefix("apple")
