"""Personas: a system prompt and sampling under a name, as files of edgelm's home.

`personas/NAME.json` holds `{"system": …, "temperature": …}`. Knows no parser of flags.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import atomic_write, disk_errors, refuse_existing
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import FormatError, NotFoundError, OptionError
from edgelm.library.names import check_name


def persona_names() -> list[str]:
    """List the names of all personas, in order."""
    return sorted(path.stem for path in _folder().glob("[!.]*.json"))


def read_persona(name: str) -> dict[str, Any]:
    """Read the settings that are kept under `name`.

    Raises:
        NotFoundError: there are none.
        FormatError: the file is not what `write_persona` wrote.
    """
    known = persona_names()
    if name not in known:
        hint = (
            f"there are {', '.join(known)}" if known else "edgelm personas save NAME --system TEXT makes one"
        )
        near = difflib.get_close_matches(name, known, n=1)
        meant = f", did you mean {near[0]!r}?" if near else ""
        raise NotFoundError(f"there is no persona {name!r}{meant}", hint=hint)
    file = persona_file(name)
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{file} cannot be read: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("system", ""), str):
        raise FormatError(f"{file} is no persona, expected an object with system and settings")
    return settings


def with_persona(settings: ChatSettings, name: str) -> ChatSettings:
    """Return chat settings with what a persona says in them.

    Raises:
        NotFoundError, FormatError: see `read_persona`; or it holds what is no setting.
    """
    values = read_persona(name)
    if values.pop("greedy", False):
        values["temperature"] = 0.0
    try:
        return dataclasses.replace(settings, **values)
    except OptionError as error:
        raise FormatError(f"{persona_file(name)}: {error.message}") from error


def write_persona(name: str, settings: dict[str, Any], *, force: bool) -> None:
    """Keep settings under `name`.

    Raises:
        OptionError: the name is none.
        OutputError: there is one of that name, or the disk refuses.
    """
    check_name(name)
    file = persona_file(name)
    if not force:
        refuse_existing(file, hint="--force replaces it, or choose another name")
    atomic_write(file, json.dumps(settings, ensure_ascii=False, indent=2) + "\n")


def remove_persona(name: str) -> None:
    """Delete a persona.

    Raises:
        OutputError: the disk refuses.
    """
    with disk_errors(persona_file(name)):
        persona_file(name).unlink()


def persona_file(name: str) -> Path:
    """Return the file that a persona is kept in."""
    return _folder() / f"{name}.json"


def _folder() -> Path:
    return paths.home() / "personas"
