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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from edgelm import paths
from edgelm.atomic import atomic_write, disk_errors
from edgelm.errors import EdgeLMError, FormatError, OptionError
from edgelm.options import Options, option

_KINDS: dict[str, Callable[[str], Any]] = {
    "int": int, "float": float, "str": str, "bool": lambda text: text.lower() in ("true", "yes", "on"),
}  # fmt: skip
AGAIN_TEMPERATURE = 0.8
"""Of another answer, where the first was the likeliest."""
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
class ChatSettings(Options):
    """Of a new chat; each chat may say otherwise. What samples is the model's own where nothing is said."""

    system: str = option("", "the system prompt")
    temperature: float | None = option(
        None, "randomness; 0 takes the likeliest token; empty is as the model recommends", ge=0, le=100
    )
    top_p: float | None = option(
        None, "keep the likeliest tokens that reach this probability; 1 is off", gt=0, le=1
    )
    top_k: int | None = option(None, "keep this many tokens; 0 is off", ge=0)
    min_p: float | None = option(
        None, "keep tokens at least this fraction as likely as the likeliest", ge=0, le=1
    )
    repetition_penalty: float | None = option(
        None, "divide the scores of recent tokens; 1 is off", gt=0, le=100
    )
    max_tokens: int | None = option(
        None, "stop an answer after so many tokens; empty is 4,096, or more", ge=1
    )
    seed: int | None = option(None, "makes sampling reproducible", ge=0, lt=2**64)
    thinking: bool | None = option(None, "ask the model to think, or not to; empty leaves it to the model")
    schema: str = option("", "a JSON schema, or the path of one, that every answer obeys")
    adapter: str = option("", "the directory of an adapter")
    adapter_scale: float = option(1.0, "strength of the adapter", ge=0, le=2)

    @classmethod
    def over(cls, base: Self, said: Mapping[str, Any]) -> Self:
        """`base` with what a saved chat says; what it says wrongly is left out."""
        made = base
        for name, value in said.items():
            if name in {item.name for item in dataclasses.fields(cls)}:
                try:
                    made = dataclasses.replace(made, **{name: value})
                except EdgeLMError:
                    continue
        return made

    def changes(self, base: ChatSettings) -> dict[str, Any]:
        """The fields that differ from `base`, as plain JSON values."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(base)
        return {name: value for name, value in mine.items() if value != theirs[name]}

    def conditions(self) -> dict[str, Any]:
        """What an answer is made under, beside its model and adapter; kept with it, to know which were given alike."""
        others = {
            name: value
            for name, value in self.changes(ChatSettings()).items()
            if name not in ("system", "thinking", "adapter")
        }
        return {"system": self.system, "thinking": self.thinking, "settings": others}

    def with_text(self, name: str, text: str) -> Self:
        """A copy in which one setting is what a person typed; nothing typed is the default.

        Raises:
            OptionError: there is no such setting, or it may not be that.
        """
        fields = {item.name: item for item in dataclasses.fields(self)}
        if name not in fields:
            raise OptionError(f"there is no setting {name!r}, expected one of {', '.join(fields)}")
        default: Any = fields[name].default
        kind = _KINDS[str(fields[name].type).partition(" |")[0]]
        try:
            return dataclasses.replace(self, **{name: kind(text.strip()) if text.strip() else default})
        except ValueError:
            raise OptionError(f"{name} is {text.strip()!r}, expected a number") from None

    def said(self) -> str:
        """What differs from what a model does of itself, in a line; "" where nothing does."""
        sampling = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "max_tokens")
        values = {name: getattr(self, name) for name in sampling}
        adapter = Path(self.adapter).name if self.adapter else ""
        thinking = {None: "", True: "thinking", False: "no thinking"}[self.thinking]
        parts = [
            "system prompt" if self.system.strip() else "",
            "schema" if self.schema.strip() else "",
            f"adapter {adapter}" + (f" × {self.adapter_scale:g}" if self.adapter_scale != 1 else "")
            if adapter
            else "",
            thinking,
            *(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items() if value is not None),
        ]
        return " · ".join(part for part in parts if part)

    def again(self, times: int, *, is_greedy: bool) -> Self:
        """For another answer to a prompt that was answered `times` times: drawn anew, and drawn at all.

        Args:
            is_greedy: whether the model takes the likeliest token where nothing is said; the answer would be the same.
        """
        made = self if self.seed is None else dataclasses.replace(self, seed=(self.seed + times) % 2**64)
        if self.top_k == 1 or (is_greedy if self.temperature is None else self.temperature == 0):
            kept = self.top_k if self.top_k != 1 else 0
            return dataclasses.replace(made, temperature=AGAIN_TEMPERATURE, top_k=kept)
        return made

    def generation(self) -> dict[str, Any]:
        """What the runtime is told, by the names it uses: sampling and the length of the answer."""
        from edgelm.runtime.sampling.settings import Sampling

        sampling = {item.name for item in dataclasses.fields(Sampling)} | {"max_tokens"}
        mine = dataclasses.asdict(self)
        return {name: value for name, value in mine.items() if name in sampling and value is not None}


@dataclass(frozen=True)
class Settings:
    """All of the file."""

    app: AppSettings = field(default_factory=AppSettings)
    chat: ChatSettings = field(default_factory=ChatSettings)
    keys: Mapping[str, str] = field(default_factory=dict)
    """Binding id → keys."""


def settings_file() -> Path:
    """Where they are."""
    return paths.home() / "config.toml"


def read_settings(file: Path) -> tuple[Settings, str | None]:
    """The settings, and what was wrong with the file if anything was."""
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
        "app": _said(settings.app, AppSettings()),
        "chat": _said(settings.chat, ChatSettings()),
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
    return Settings(_table(AppSettings, said, "app"), _table(ChatSettings, said, "chat"), keys)


def _table(kind: type[Any], said: dict[str, Any], name: str) -> Any:
    values = said.get(name, {})
    known = {item.name for item in dataclasses.fields(kind)}
    if not isinstance(values, dict) or values.keys() - known:
        wrong = sorted(values.keys() - known)[0] if isinstance(values, dict) else values
        raise FormatError(f"[{name}] has {wrong!r}, expected some of {', '.join(sorted(known))}")
    return kind(**values)


def _said(settings: Options, defaults: Options) -> dict[str, Any]:
    names = [item.name for item in dataclasses.fields(settings)]
    values = {name: getattr(settings, name) for name in names}
    return {k: v for k, v in values.items() if v != getattr(defaults, k) and v is not None}


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() else json.dumps(name)


def _value(value: object) -> str:
    # JSON's strings, numbers and booleans are TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
