"""How many files this process may have open: macOS starts programs with 256, and a model of many shards opens more."""

from __future__ import annotations

import resource

from edgelm import log

WANTED = 8192
"""Below macOS's own bound for a process (`kern.maxfilesperproc`, 10,240 on the smallest Macs)."""


def raise_open_files(wanted: int = WANTED) -> int:
    """Raise the soft limit to `wanted`, as far as the hard limit lets it; a higher one stays.

    Returns:
        The soft limit before; -1 is none (`resource.RLIM_INFINITY`).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft == resource.RLIM_INFINITY or soft >= goal:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
    except (OSError, ValueError) as error:  # macOS refuses what its kernel does not allow one process
        log.logger.info("the limit of %d open files stays: %s", soft, error)
    return soft
