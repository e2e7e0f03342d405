"""The list above the prompt: commands after a slash, files after an @."""

from __future__ import annotations

import os
import re
from pathlib import Path

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from edgelm.conversation.commands import COMMANDS
from edgelm.conversation.typed_paths import quoted

_SHOWN = 8
_SCANNED = 3000
_NAMING = re.compile(r"(/attach|/import|/export|/feedback)[ \t]+(.*)")
_WRITING = ("/export", "/feedback")
_SKIPPED = {".git", "node_modules", "__pycache__", ".venv"}


class Completions(OptionList, can_focus=False):
    """What the word at the cursor may become; hidden where that is nothing."""

    DEFAULT_CSS = """
    Completions { height: auto; max-height: 8; border: none; background: $panel; display: none; padding: 0 1; }
    Completions.open { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(id="completions", markup=False)
        self._values: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether there is something to take."""
        return bool(self._values)

    def offer(self, word: str) -> None:
        """Show what `word` may become."""
        rows = _offered(word)
        self._values = [value for value, _ in rows]
        self.clear_options()
        self.add_options([Option(content) for _, content in rows])
        self.highlighted = 0 if rows else None
        self.set_class(bool(rows), "open")

    def move(self, by: int) -> None:
        """Move up or down, around the ends."""
        if self._values:
            self.highlighted = ((self.highlighted or 0) + by) % len(self._values)

    def taken(self, at: int | None = None) -> str:
        """Return the chosen completion."""
        return self._values[at if at is not None else self.highlighted or 0]


def names_a_file(line: str) -> bool:
    """Tell whether a line is a command and the beginning of the name of a file."""
    return _NAMING.fullmatch(line) is not None


def _offered(word: str) -> list[tuple[str, Content]]:
    if (naming := _NAMING.fullmatch(word)) is not None:
        return _named(naming[1], naming[2])
    return _commands(word) if word.startswith("/") else _files(word) if word.startswith("@") else []


def _named(command: str, said: str) -> list[tuple[str, Content]]:
    """What a command can read; of one that writes, where it can write to."""
    typed = _unquoted(said)
    if command in _WRITING:
        found = [name for name in _beneath(typed) if name.endswith("/")]
    else:
        found = _beneath(typed) if typed.startswith(("/", "~", ".")) else _matching(typed)
    if command == "/import":
        found = [name for name in found if name.lower().endswith((".md", ".json", "/"))]
    return [(f"{command} {_said(name)}", Content(name)) for name in found[:_SHOWN]]


def _commands(word: str) -> list[tuple[str, Content]]:
    return [
        (f"{name} ", Content.assemble(name.ljust(12), (text, "$foreground-muted")))
        for name, text in COMMANDS.items()
        if name.startswith(word)
    ]


def _files(word: str) -> list[tuple[str, Content]]:
    typed = _unquoted(word[1:])
    found = _beneath(typed) if typed.startswith(("/", "~", ".")) else _matching(typed)
    return [(_mention(name), Content(name)) for name in found[:_SHOWN]]


def _unquoted(typed: str) -> str:
    return typed[1:].replace('\\"', '"') if typed.startswith('"') else re.sub(r"\\(.)", r"\1", typed)


def _mention(name: str) -> str:
    """Return a file's name as it stands in a prompt."""
    return f"@{_said(name)}"


def _said(name: str) -> str:
    """A file is done; the quotation of a folder stays open for what is in it."""
    said = quoted(name)
    return said.removesuffix('"') if name.endswith("/") else f"{said} "


def _beneath(typed: str) -> list[str]:
    """List the completions of a path: what its last directory holds."""
    head, _, last = typed.rpartition("/")
    directory = Path(head or ("/" if typed.startswith("/") else ".")).expanduser()
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return []
    prefix = f"{head}/" if head or typed.startswith("/") else ""
    shown = [
        entry for entry in entries if entry.name.startswith(last) and (last or not entry.name.startswith("."))
    ]
    return [f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}" for entry in shown]


def _matching(typed: str) -> list[str]:
    """Files below the working directory whose path holds what is typed; the shortest first."""
    found: list[str] = []
    seen = 0
    for root, folders, files in os.walk("."):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        for name in files:
            seen += 1
            path = str(Path(root, name))
            if typed.lower() in path.lower() and not name.startswith("."):
                found.append(path)
        if seen > _SCANNED:
            break
    return sorted(found, key=lambda path: (len(path), path))
