"""Where things live on this machine.

Everything sits under one directory: `$EDGELM_HOME` if set, else the platform's data directory
(`~/Library/Application Support/edgelm`, `~/.local/share/edgelm`). Functions, not constants, so that a
test or a shell can change the environment.
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The directory that holds models, adapters, chats and settings; it may not exist yet."""
    said = os.environ.get("EDGELM_HOME")
    if said:
        return Path(said).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("edgelm", appauthor=False))


def models() -> Path:
    """The library: one directory per installed model."""
    return home() / "models"


def chats() -> Path:
    """Saved chats and the prompt history."""
    return home() / "chats"


def database() -> Path:
    """The SQLite file of `edgelm.store`: chats, runs, votes, lineage."""
    return home() / "edgelm.db"


def adapters() -> Path:
    """Adapters that were trained or imported: one directory each."""
    return home() / "adapters"


def runs() -> Path:
    """Training runs: one directory each, with its checkpoints and events."""
    return home() / "runs"


def prompt_caches() -> Path:
    """Computed prompts, one directory for each model and kind of cache."""
    return caches() / "prompts"


def caches() -> Path:
    """What can be computed again: KV caches, sensitivities, calibration statistics."""
    return home() / "caches"
