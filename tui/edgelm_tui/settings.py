"""The app's settings: `config.toml` in edgelm's home.

    [app]
    theme = "edgelm-light"
    [chat]
    temperature = 0.7
    [keys]
    "chat.new" = "ctrl+t"

A file that cannot be understood is kept aside as `config.toml.broken`, and the defaults are used. Knows no screen.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.atomic import atomic_write, disk_errors
from edgelm.conversation.settings import ChatSettings
from edgelm.errors import EdgeLMError, FormatError
from edgelm.options import Options, option

THEMES = ("edgelm-dark", "edgelm-light", "high-contrast", "ansi")


@dataclass(frozen=True)
class AppSettings(Options):
    """How the app looks and behaves."""

    theme: str = option("edgelm-dark", "colours", choices=THEMES)
    sidebar: bool = option(True, "show the chats beside the conversation where there is room")
    show_thinking: bool = option(False, "open what a model thinks before it answers")
    footer: bool = option(True, "show the keys in the last line")
    paste_lines: int = option(12, "a paste of more lines becomes an attachment", ge=2, le=1000)


@dataclass(frozen=True)
class Settings:
    """All of the file."""

    app: AppSettings = field(default_factory=AppSettings)
    chat: ChatSettings = field(default_factory=ChatSettings)
    keys: Mapping[str, str] = field(default_factory=dict)
    """Binding id → keys."""


def settings_file() -> Path:
    """Return the file that holds them."""
    return paths.home() / "config.toml"


def read_settings(file: Path) -> tuple[Settings, str | None]:
    """Read the settings; beside them what was wrong with the file, if anything was."""
    try:
        return _parse(tomllib.loads(file.read_text(encoding="utf-8")), file), None
    except FileNotFoundError:
        return Settings(), None
    except (OSError, ValueError, EdgeLMError) as error:
        reason = error.message if isinstance(error, EdgeLMError) else str(error)
    aside = file.with_name(f"{file.name}.broken")
    try:
        file.replace(aside)
    except OSError:
        return Settings(), f"{file} is not used: {reason}"
    return Settings(), f"{file.name} is not used: {reason}; it is kept as {aside.name}"


def write_settings(settings: Settings, file: Path) -> None:
    """Replace the file; only what differs from the defaults is written.

    Raises:
        OutputError: the disk refuses.
    """
    tables = {
        "app": _changes(dataclasses.asdict(settings.app), dataclasses.asdict(AppSettings())),
        "chat": _changes(settings.chat.flat(), ChatSettings().flat()),
        "keys": dict(settings.keys),
    }
    lines = []
    for table, values in tables.items():
        if values:
            lines += [f"[{table}]", *(f"{_key(key)} = {_value(value)}" for key, value in values.items()), ""]
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, "\n".join(lines))


def _parse(said: dict[str, Any], file: Path) -> Settings:
    unknown = said.keys() - {"app", "chat", "keys"}
    if unknown:
        raise FormatError(f"{file} has a table {sorted(unknown)[0]!r}, expected app, chat or keys")
    keys = said.get("keys", {})
    if not isinstance(keys, dict) or not all(isinstance(value, str) for value in keys.values()):
        raise FormatError(f"{file}: keys hold something that is no key, expected names of keys")
    app = _table(said.get("app", {}), AppSettings.__dataclass_fields__, "app")
    chat = said.get("chat", {})
    # Their names are looked up only where there are any: those of the sampling are the runtime's.
    chat = _table(chat, ChatSettings.names(), "chat") if chat != {} else {}
    return Settings(AppSettings(**app), ChatSettings(**chat), keys)


def _table(values: Any, names: Iterable[str], name: str) -> dict[str, Any]:
    known = set(names)
    if not isinstance(values, dict) or values.keys() - known:
        wrong = sorted(values.keys() - known)[0] if isinstance(values, dict) else values
        raise FormatError(f"[{name}] has {wrong!r}, expected some of {', '.join(sorted(known))}")
    return values


def _changes(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v != defaults.get(k) and v is not None}


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() else json.dumps(name)


def _value(value: object) -> str:
    # JSON's strings, numbers and booleans are TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
