"""Names of models, adapters and runs, and where something new goes: a name is of the library, an output is a path.

One rule for every command, for Python and for the app; `docs/cli.md` has it. Knows no model.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from edgelm.errors import OptionError

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
_LONGEST = 200
"""File systems take 255 bytes; hidden siblings need some of them."""


def check_name(name: str, setting: str = "name") -> str:
    """Return `name`, which may be that of a directory in a library.

    Raises:
        OptionError: it holds what makes a path, or begins as hidden files do.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise OptionError(
            f"{setting} is {name!r}, expected letters, digits and ._+-, with a letter or digit first",
            hint="a name is one of the library; what takes a path as well has --output for it",
            settings=(setting,),
        )
    return name


def place(
    library: Path, *, name: str | None = None, output: str | Path | None = None, default: str | None = None
) -> Path:
    """Return where a result goes: `library / name`, the path `output`, or `library / default`.

    A name that differs from one that is there in case alone is that one: on a Mac's disk it is the same directory.

    Raises:
        OptionError: name and output are both given, or neither where there is no default; a name that is none.
    """
    if name is not None and output is not None:
        raise OptionError(
            f"name ({name}) and output ({output}) are both given, expected one of them",
            hint="a name is one of the library, an output is a path",
            settings=("name", "output"),
        )
    if output is not None:
        if not str(output):
            raise OptionError("output is '', expected a path", settings=("output",))
        return Path(output).expanduser()
    if name is not None:
        return _in_library(library, check_name(name))
    if default is None:
        raise OptionError(
            "neither name nor output is given",
            hint="a name puts it into the library, an output at that path",
            settings=("name", "output"),
        )
    return _in_library(library, check_name(default))


def _in_library(library: Path, name: str) -> Path:
    return named_in(library, name) or library / name


def is_path(text: str) -> bool:
    """Return whether `text` can only be a path: absolute, from `.`, `..` or `~`, or beside something that is there."""
    if text in (".", "..") or text.startswith(("./", "../", "~", os.sep)):
        return True
    parent = Path(text).parent
    return parent != Path() and parent.is_dir()


def named_in(library: Path, text: str) -> Path | None:
    """Find the directory of that name, or the only one whose name differs in case alone; what is hidden is none."""
    there = directories(library)
    exact = [path for path in there if path.name == text]
    alike = [path for path in there if path.name.lower() == text.lower()]
    found = exact or alike
    return found[0] if len(found) == 1 else None


def directories(library: Path) -> list[Path]:
    """List what a library holds, by name."""
    if not library.is_dir():
        return []
    return sorted(path for path in library.iterdir() if path.is_dir() and not path.name.startswith("."))


def near_name(text: str, names: Iterable[str]) -> str | None:
    """Return the name that a misspelt one is likely to mean."""
    known = {name.lower(): name for name in names}
    found = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.5)
    return known[found[0]] if found else None
