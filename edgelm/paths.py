"""Where things live on this machine.

Everything sits under one directory: `$EDGELM_HOME` if set, else the platform's data directory
(`~/Library/Application Support/edgelm`, `~/.local/share/edgelm`). What can be computed again is in the platform's cache
directory (`~/Library/Caches/edgelm`, `~/.cache/edgelm`), which backups leave out, or in `$EDGELM_HOME/caches`.
Functions, not constants, so that a test or a shell can change the environment.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def home() -> Path:
    """Return the directory that holds models, adapters, chats and settings; it may not exist yet."""
    configured = os.environ.get("EDGELM_HOME")
    if configured:
        return Path(configured).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("edgelm", appauthor=False))


def models() -> Path:
    """Return the folder of the library: one directory per installed model."""
    return home() / "models"


def chats() -> Path:
    """Return the folder of saved chats and of the prompt history."""
    return home() / "chats"


def database() -> Path:
    """Return the SQLite file of `edgelm.store`: chats, runs, votes, lineage."""
    return home() / "edgelm.db"


def adapters() -> Path:
    """Return the folder of adapters that were trained or imported: one directory each."""
    return home() / "adapters"


def runs() -> Path:
    """Return the folder of training runs: one directory each, with its checkpoints and events."""
    return home() / "runs"


def rows() -> Path:
    """Return the folder of rows that were given to `edgelm.tune` in memory, as JSON lines, for runs that are resumed."""
    return home() / "rows"


def servers() -> Path:
    """Return the folder of the servers that run, a file each, and of the log of those in the background."""
    return home() / "servers"


def prompt_caches() -> Path:
    """Return the folder of computed prompts, one directory for each model and kind of cache."""
    return caches() / "prompts"


def caches() -> Path:
    """Return the folder of what can be computed again: KV caches, sensitivities, calibration statistics.

    Caches of an earlier edgelm, in the data directory, are moved here once; where they cannot be, they stay unused.
    """
    if os.environ.get("EDGELM_HOME"):
        return home() / "caches"
    import platformdirs

    place = Path(platformdirs.user_cache_dir("edgelm", appauthor=False))
    before = former_caches()
    # Another disk, another process that was quicker, or a directory that cannot be written or looked into.
    with contextlib.suppress(OSError):
        if not place.exists() and before.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            before.rename(place)
    return place


def former_caches() -> Path:
    """Return where caches were before they had a place of their own; `edgelm doctor` names it while something is there."""
    return home() / "caches"


def visible_files(directory: Path) -> list[Path]:
    """Return the files at or below `directory` that are not hidden, nor in a hidden folder, in order.

    What a system keeps beside the data of a person (`._notes.txt` on an exFAT disk, `.DS_Store`, `.git`) is no data.
    """
    return sorted(
        path for path in directory.rglob("*") if is_visible(path.relative_to(directory)) and path.is_file()
    )


def is_visible(path: Path) -> bool:
    """Return whether no part of a relative path begins with a dot."""
    return not any(part.startswith(".") for part in path.parts)
