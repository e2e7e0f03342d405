"""The licence that a model directory names: in its manifest, else in the front matter of its model card."""

from __future__ import annotations

from pathlib import Path

from edgelm.errors import FormatError
from edgelm.library.manifest import Manifest

_CARD_LINES = 60


def licence_of(directory: Path) -> str | None:
    """Return the licence that a model directory names, as it is written there; None if nothing names one."""
    try:
        manifest = Manifest.read(directory)
    except FormatError:
        manifest = None  # whoever needs the manifest says so; the card may still name a licence
    return (manifest.licence if manifest else None) or _on_card(directory)


def _on_card(directory: Path) -> str | None:
    card = directory / "README.md"
    if not card.is_file():
        return None
    for line in card.read_text(encoding="utf-8", errors="replace").splitlines()[:_CARD_LINES]:
        key, _, value = line.partition(":")
        if key.strip() == "license":
            return value.strip().strip("'\"") or None
    return None
