"""Paths as people read them."""

from __future__ import annotations

from pathlib import Path


def with_tilde(path: Path) -> str:
    """Shorten a path as a shell would take it."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
