"""Settings of a whole batch. Light, so that `--help` knows them without importing MLX."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.options import Options, option


@dataclass(frozen=True)
class BatchOptions(Options):
    """How many prompts are answered together.

    Raises:
        OptionError: a setting outside what it may be.
    """

    rows: int | None = option(
        None, "prompts answered at once; default what memory allows, up to 32", ge=1, le=1024
    )
