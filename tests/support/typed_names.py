"""A folder of files whose names are hard to type."""

from __future__ import annotations

from pathlib import Path

NAMES = [
    "plain.txt", "my notes.txt", "it's.txt", 'say "hi".txt', "back\\slash.txt", "brackets [x] (1).txt",
    "Ünïcode  two.txt", "tail, end.txt",
]  # fmt: skip


def fill(folder: Path) -> None:
    """Write a file under each name, and one in a folder."""
    for name in NAMES:
        (folder / name).write_text(f"in {name}")
    (folder / "a folder").mkdir()
    (folder / "a folder" / "deep one.txt").write_text("deep")


def escaped(name: str) -> str:
    """As Terminal and iTerm write a file that is dropped on them."""
    return "".join(
        letter if letter.isalnum() or letter in "/._-" or ord(letter) > 127 else f"\\{letter}"
        for letter in name
    )
