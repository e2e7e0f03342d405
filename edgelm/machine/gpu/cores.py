"""How many cores the GPU of this Mac has: Metal does not say, the registry of I/O devices does."""

from __future__ import annotations

import re
import sys

from edgelm.machine.programs import output_of

COMMAND = ("/usr/sbin/ioreg", "-r", "-d", "1", "-c", "AGXAccelerator")


def gpu_cores() -> int | None:
    """Return the cores of this Mac's GPU; None elsewhere, or where macOS does not say."""
    return parse_gpu_cores(output_of(*COMMAND)) if sys.platform == "darwin" else None


def parse_gpu_cores(text: str) -> int | None:
    """Return the number in what `ioreg` prints: `"gpu-core-count" = 40`."""
    match = re.search(r'"gpu-core-count"\s*=\s*(\d+)', text)
    return int(match[1]) if match else None
