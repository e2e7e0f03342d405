"""What a text given as data names: a file, a folder of files, or a dataset of the Hub.

What looks like a file is never looked for on the Hub, which takes the better part of a minute to say no: a name with an
ending that files of data have, and one inside a folder that is there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgelm.errors import NotFoundError
from edgelm.tune.data.reading.hub_rows import looks_like_dataset

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md")
"""The endings of files that are read, in order of preference."""
_OTHER_SUFFIXES = (
    ".jsonlines", ".jsonl.gz", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".arrow", ".feather", ".pq",
    ".xlsx", ".xls", ".ods", ".yaml", ".yml", ".xml", ".html", ".pdf", ".docx", ".db", ".sqlite", ".pkl", ".npy",
)  # fmt: skip
"""The endings of files that are not read, and are files nevertheless."""
_TRAIN = ("train",)
_VALIDATION = ("valid", "validation", "val", "dev", "test")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a path given as data stands for."""

    train: str
    validation: str | None = None


def find_sources(text: str) -> Sources:
    """Find the files: a file stands for itself, a directory for its `train.*` and `valid.*` (as mlx-lm lays data out).

    Raises:
        NotFoundError: no such file, or a directory without `train.*`.
    """
    path = Path(text).expanduser()
    if not path.is_dir():
        if not path.exists() and not is_dataset(text):
            raise missing(text)
        return Sources(text)
    train, validation = _named(path, _TRAIN), _named(path, _VALIDATION)
    if train is None:
        near = _visible(path, only_data=True)
        hint = f"give the file itself: {path / near[0]}" if near else "give the file itself"
        raise NotFoundError(f"{text} is a directory without train{{{', '.join(SUFFIXES)}}}", hint=hint)
    return Sources(str(train), None if validation is None else str(validation))


def is_dataset(text: str) -> bool:
    """Tell whether `text`, which names no file that is there, is meant as the id of a Hub dataset."""
    path = Path(text)
    return (
        looks_like_dataset(text)
        and path.suffix.lower() not in (*SUFFIXES, *_OTHER_SUFFIXES)
        and not path.parent.is_dir()
    )


def missing(text: str) -> NotFoundError:
    """Make the error for a file that is not there, with the nearest name that is."""
    near = _nearest(Path(text).expanduser())
    return NotFoundError(f"{text} does not exist", hint=f"did you mean {near}?" if near else None)


def _nearest(path: Path) -> Path | None:
    """The file beside it with the most similar name; where the folder is misspelt, that of the folder it may be."""
    folder: Path | None = path.parent
    if not path.parent.is_dir():
        above = path.parent.parent
        folders = [entry.name for entry in _entries(above) if entry.is_dir()]
        folder = next((above / name for name in _similar(path.parent.name, folders)), None)
    if folder is None:
        return None
    names = _visible(folder)
    exact = [name for name in names if name == path.name]
    return next((folder / name for name in exact or _similar(path.name, names)), None)


def _similar(name: str, names: Iterable[str]) -> list[str]:
    by_lower = {one.lower(): one for one in names}
    return [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=1)]


def _visible(folder: Path, *, only_data: bool = False) -> list[str]:
    """Names of files; hidden ones (`._train.jsonl`, which macOS makes) are never data."""
    names = [entry.name for entry in _entries(folder) if entry.is_file() and not entry.name.startswith(".")]
    return sorted(name for name in names if not only_data or Path(name).suffix.lower() in SUFFIXES)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir()) if folder.is_dir() else []
    except OSError:
        return []


def _named(directory: Path, stems: tuple[str, ...]) -> Path | None:
    candidates = (directory / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)
