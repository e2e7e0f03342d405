"""Apple's chips: their names, generations and memory bandwidth. Knows nothing about this machine.

Bandwidth is Apple's published figure. Where a chip ships with two memory systems, the cores of its GPU or CPU or the
memory it is sold with tell them apart, and the lower figure is stated where none is known.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from edgelm.errors import OptionError

_GB_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip as Apple sells it, e.g. `Chip("M3 Max", 3, 300e9, 400e9, Full(cpu_cores=16, …))`."""

    name: str
    generation: int
    """Its number in the M line; an A chip has that of the M chip with the same GPU."""
    bandwidth_bytes_per_s: int
    """The bandwidth of the smaller version, where there are two."""
    full_bandwidth_bytes_per_s: int
    full: Full | None = None
    """What the version with the full bandwidth is known by; None where there is one version."""

    def bandwidth_with(
        self, cpu_cores: int | None = None, gpu_cores: int | None = None, memory_gb: float | None = None
    ) -> int:
        """Return the bytes per second of the version with these parts; the lower figure where they do not tell."""
        if self.full is None or self.full.is_met_by(cpu_cores, gpu_cores, memory_gb):
            return self.full_bandwidth_bytes_per_s
        return self.bandwidth_bytes_per_s


@dataclass(frozen=True, slots=True)
class Full:
    """The larger of two versions of a chip."""

    gpu_cores: int
    memory_gb: tuple[int, ...]
    """Sizes that it alone is sold with."""
    cpu_cores: int | None = None
    """None where both versions have as many."""

    def is_met_by(self, cpu_cores: int | None, gpu_cores: int | None, memory_gb: float | None) -> bool:
        """Return whether what is known of a machine says that it has this version."""
        if gpu_cores is not None:
            return gpu_cores >= self.gpu_cores
        if cpu_cores is not None and self.cpu_cores is not None:
            return cpu_cores >= self.cpu_cores
        return memory_gb in self.memory_gb


def _chip(
    name: str, low: int, high: int | None = None, full: Full | None = None, generation: int | None = None
) -> Chip:
    return Chip(name, generation or int(name[1]), low * _GB_PER_S, (high or low) * _GB_PER_S, full)


CHIPS = (
    _chip("M1", 68), _chip("M1 Pro", 200), _chip("M1 Max", 400), _chip("M1 Ultra", 800),
    _chip("M2", 100), _chip("M2 Pro", 200), _chip("M2 Max", 400), _chip("M2 Ultra", 800),
    _chip("M3", 100), _chip("M3 Pro", 150), _chip("M3 Max", 300, 400, Full(40, (48, 64, 128), cpu_cores=16)),
    _chip("M3 Ultra", 819),
    _chip("M4", 120), _chip("M4 Pro", 273), _chip("M4 Max", 410, 546, Full(40, (48, 64, 128), cpu_cores=16)),
    _chip("M5", 153), _chip("M5 Pro", 307), _chip("M5 Max", 460, 614, Full(40, (48, 64, 128))),
    _chip("A18 Pro", 60, generation=4),
)  # fmt: skip


def find_chip(name: str) -> Chip | None:
    """Return the chip called `name` ("M3 Pro", "Apple M3 Pro", "m3pro"), None if it is not in the table."""
    wanted = _plain(name)
    return next((chip for chip in CHIPS if _plain(chip.name) == wanted), None)


def require_chip(name: str) -> Chip:
    """Return the chip called `name`.

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
    """Return the generation, 3 for "Apple M3 Pro", also of a chip newer than the table; None if it is no chip of a Mac."""
    known = find_chip(name)
    if known is not None:
        return known.generation
    match = re.match(r"(?:apple\s+)?m(\d+)\b", name.strip(), re.IGNORECASE)
    return int(match[1]) if match else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower().removeprefix("apple")
