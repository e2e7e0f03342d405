r"""Names of files as people type, quote, paste and drop them. Knows no widget.

    notes.txt   "my notes.txt"   my\ notes.txt   my notes.txt   ~/notes.txt   file:///home/ann/my%20notes.txt

Terminals write a file that is dropped on them in one of these ways. What is there wins: a name with spaces, backslashes or
quotes of its own is taken as it is.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit


def path_of(name: str) -> Path:
    """Return the file that is meant by `name`, which is there or is to be written."""
    name = name.strip()
    meant = readings(name)
    return next((path for path in meant if exists(path)), meant[0])


def paths_of(names: str) -> list[Path]:
    """Return the files that are meant by `names`, one or several that are there; else what one name means."""
    whole = path_of(names)
    several = [_expanded(_without_scheme(word)) for word in _words(names)]
    return several if not exists(whole) and len(several) > 1 and all(map(exists, several)) else [whole]


def readings(name: str) -> list[Path]:
    """List what one name may mean, the likeliest first: as a shell reads it, and to the letter."""
    words = _words(name)
    as_shell = [_without_scheme(words[0])] if len(words) == 1 else []
    return [_expanded(reading) for reading in dict.fromkeys([*as_shell, _without_scheme(name)])]


def dropped_files(text: str) -> list[Path]:
    """List the files of a paste that is nothing but whole paths of files that are there, as terminals write dropped ones."""
    if "\n" in text.strip() or not text.strip().startswith(("/", "~", "'/", '"/', "file://")):
        return []
    paths = paths_of(text)
    return paths if all(path.is_absolute() and is_file(path) for path in paths) else []


def quoted(name: str) -> str:
    """Write `name` as `path_of` and a mention read it back; quoted only where it must be."""
    if not any(letter.isspace() or letter in "\"'\\" for letter in name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def exists(path: Path) -> bool:
    """Tell whether there is anything of this name; a name that cannot be one is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Tell whether a file of this name is there."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark that is part of the name
        return []


def _without_scheme(name: str) -> str:
    if not name.lower().startswith("file:"):
        return name
    try:
        parts = urlsplit(name)
    except ValueError:
        return name
    return unquote(parts.path) if parts.netloc in ("", "localhost") and parts.path else name


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~nobody
        return Path(name)
