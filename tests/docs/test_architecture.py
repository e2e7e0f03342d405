"""ARCHITECTURE.md names files, folders and layers that exist, and leaves no layer out."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`([a-z_/]+(?:\.py|/))`", PAGE)))
PATHS = [
    path.relative_to(ROOT).as_posix() + ("/" if path.is_dir() else "")
    for root in ("edgelm", "converters", "tui", "tests", "docs", "scripts")
    for path in (ROOT / root, *(ROOT / root).rglob("*"))
    if "__pycache__" not in path.parts
]


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_is_named_is_there(place: str) -> None:
    assert any(path == place or path.endswith(f"/{place}") for path in PATHS)


def test_every_layer_is_in_the_picture() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    names = {name for layer in layers for name in re.findall(r"[\w.]+", layer)}
    (picture,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert [
        name for name in sorted(names) if not re.search(rf"\b{name.removeprefix('edgelm.')}\b", picture)
    ] == []
