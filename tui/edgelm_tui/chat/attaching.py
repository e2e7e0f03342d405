"""Files that a prompt names with an @ and takes with it. Knows no widget."""

from __future__ import annotations

from pathlib import Path

from edgelm.errors import OptionError
from edgelm.store.chat_schema import Attachment

_MAX_BYTES = 1_000_000


def files_in(text: str) -> tuple[list[Attachment], list[str]]:
    """The files that `text` names with an @, and what is wrong with those that cannot be read."""
    found: list[Attachment] = []
    wrong: list[str] = []
    for word in dict.fromkeys(part[1:] for part in text.split() if part.startswith("@") and len(part) > 1):
        if Path(word).expanduser().is_file():
            file, problem = _read(word)
            found += [file] if file is not None else []
            wrong += [problem] if problem else []
    return found, wrong


def file_named(name: str) -> Attachment:
    """One file.

    Raises:
        OptionError: there is none, or it is no text, or too large.
    """
    if not name or not Path(name).expanduser().is_file():
        raise OptionError(f"there is no file {name!r}", hint="/attach FILE")
    found, wrong = _read(name)
    if found is None:
        raise OptionError(wrong)
    return found


def _read(name: str) -> tuple[Attachment | None, str]:
    path = Path(name).expanduser()
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None, f"{name} is larger than 1 MB"
        return Attachment(name, path.read_text(encoding="utf-8")), ""
    except (OSError, UnicodeDecodeError):
        return None, f"{name} is no text that can be read"
