"""The page about GGUF files names every family that is converted, and the network it becomes."""

from __future__ import annotations

import re
from pathlib import Path

from edgelm_converters.sources.gguf.families.registry import ARCHITECTURES

PAGE = (Path(__file__).parents[2] / "docs" / "gguf.md").read_text(encoding="utf-8")


def test_every_family_stands_on_the_page_with_its_network() -> None:
    rows = [
        row
        for line in PAGE.splitlines()
        if line.startswith("| `")
        for row in re.findall(r"(`[^|]+)\|([^|]+)", line)
    ]
    networks = {name: cell for names, cell in rows for name in re.findall(r"`([^`]+)`", names)}
    assert set(networks) == set(ARCHITECTURES)
    missing = {
        name: each.model_type
        for name, family in ARCHITECTURES.items()
        for each in (family, *family.others)
        if not re.search(rf"\b{each.model_type}\b", networks[name])
    }
    assert not missing
