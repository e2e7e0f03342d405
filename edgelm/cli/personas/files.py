"""Personas as files of edgelm's home, `personas/NAME.json`: `{"system": …, "temperature": …}`. Knows no parser of flags."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import atomic_write, disk_errors, refuse_existing
from edgelm.cli.parsing.nearest import did_you_mean
from edgelm.errors import FormatError, NotFoundError
from edgelm.library.names import check_name


def names() -> list[str]:
    """All of them, in order."""
    return sorted(path.stem for path in _folder().glob("*.json"))


def read(name: str) -> dict[str, Any]:
    """What is kept under `name`.

    Raises:
        NotFoundError: nothing.
        FormatError: the file is not what `write` wrote.
    """
    known = names()
    if name not in known:
        hint = (
            f"there are {', '.join(known)}" if known else "edgelm personas save NAME --system TEXT makes one"
        )
        raise NotFoundError(f"there is no persona {name!r}{did_you_mean(name, known)}", hint=hint)
    file = _file(name)
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{file} cannot be read: {error}") from error
    if not isinstance(said, dict) or not isinstance(said.get("system", ""), str):
        raise FormatError(f"{file} is no persona, expected an object with system and settings")
    return said


def write(name: str, said: dict[str, Any], *, force: bool) -> None:
    """Keep `said` under `name`.

    Raises:
        OptionError: the name is none.
        OutputError: there is one of that name, or the disk refuses.
    """
    check_name(name)
    file = _file(name)
    if not force:
        refuse_existing(file, hint="--force replaces it, or choose another name")
    atomic_write(file, json.dumps(said, ensure_ascii=False, indent=2) + "\n")


def remove(name: str) -> None:
    """Delete one.

    Raises:
        OutputError: the disk refuses.
    """
    with disk_errors(_file(name)):
        _file(name).unlink()


def adopt(name: str, arguments: argparse.Namespace) -> None:
    """Let what a persona says count as if its flags were given, where they were not.

    Raises:
        NotFoundError, FormatError: see `read`; or it holds a setting that is none.
    """
    said = read(name)
    for key, value in said.items():
        if not hasattr(arguments, key):
            raise FormatError(f"{_file(name)} has {key!r}, which is no setting of a chat")
        if key == "greedy":
            arguments.greedy = arguments.greedy or (bool(value) and arguments.temperature is None)
        elif getattr(arguments, key) is None and not (key == "temperature" and arguments.greedy):
            is_text = key == "system" and value.startswith("@")
            setattr(arguments, key, f"@{value}" if is_text else value)


def _folder() -> Path:
    return paths.home() / "personas"


def _file(name: str) -> Path:
    return _folder() / f"{name}.json"
