"""Logging to stderr: quiet by default, `--debug` says everything. Results never go through here."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("edgelm")


def configure(*, debug: bool = False) -> None:
    """Send edgelm's own log to stderr; called once, by the command line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s" if debug else "%(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
