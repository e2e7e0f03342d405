"""The sets of prompts that ship, written for this project: writing, code, maths, chat."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

SETS: Final = ("writing", "code", "maths", "chat")
_BETWEEN = "\n---\n"


@cache
def shipped(name: str) -> tuple[str, ...]:
    """Return the prompts of one of `SETS`, in the order of its file."""
    path = files("edgelm.arena.prompts") / "data" / f"{name}.txt"
    return tuple(text.strip("\n") for text in path.read_text(encoding="utf-8").split(_BETWEEN))
