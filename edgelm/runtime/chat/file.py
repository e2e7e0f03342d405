"""A chat as a JSON file: `{"model", "created", "settings", "messages"}`, the messages as everybody writes them.

The system prompt is the first message, so the file is a row of training data, and `/import` of the app reads it. The settings
are those that acted, the form of answers included. Knows no model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgelm.atomic import atomic_write, disk_errors, refuse_existing
from edgelm.errors import EdgeLMError, FormatError
from edgelm.json_files import read_json
from edgelm.messages.reader import read_turns
from edgelm.options import shorten
from edgelm.runtime.generation.options import GenerationOptions

_FORMS = {"schema": "schema", "regex": "regex", "lark": "grammar"}


@dataclass(frozen=True)
class SavedChat:
    """What a file of a chat holds."""

    system: str | None
    messages: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    """By the names of `Model.chat`."""
    model: str | None


def write_chat(
    path: str | Path,
    *,
    model: str | None,
    system: str | None,
    messages: Sequence[Mapping[str, Any]],
    options: GenerationOptions,
    overwrite: bool = False,
) -> Path:
    """Write a chat, whole or not at all; returns the file.

    Raises:
        OutputError: the file is there already and is not to be overwritten, or the disk refuses.
    """
    file = Path(path).expanduser()
    if not overwrite:
        refuse_existing(file, hint="overwrite=True replaces it")
    first = [] if system is None else [{"role": "system", "content": system}]
    said = {
        "model": model,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": _settings(options),
        "messages": [*first, *map(dict, messages)],
    }
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, json.dumps(said, ensure_ascii=False, indent=2) + "\n")
    return file


def read_chat(path: str | Path) -> SavedChat:
    """Return a chat that was saved; other files with `messages` are read as well.

    Raises:
        NotFoundError: no such file.
        FormatError: it holds no chat.
    """
    file = Path(path).expanduser()
    said = read_json(file)
    settings = said.get("settings", {})
    if not isinstance(said.get("messages"), list) or not isinstance(settings, Mapping):
        raise FormatError(f"{file} holds no chat, expected messages in a list")
    if "edgelm_chat" in said:
        raise FormatError(
            f"{file} is an export of the app, with every alternative of the chat, expected one conversation",
            hint="/save in edgelm chat writes what is shown",
        )
    turns = _read_turns(said["messages"], file)
    first = turns.pop(0)["content"] if turns and turns[0]["role"] == "system" else None
    return SavedChat(_system(said, file) or first, turns, dict(settings), _model(said))


def _read_turns(messages: Any, file: Path) -> list[dict[str, Any]]:
    try:
        return read_turns(messages)
    except EdgeLMError as error:
        raise FormatError(f"{file}: {error.message}", hint=error.hint) from error


def _system(said: Mapping[str, Any], file: Path) -> str | None:
    system = said.get("system")
    if not isinstance(system, str | None):
        raise FormatError(f"{file}: system is {shorten(system)}, expected text")
    return system or None


def _model(said: Mapping[str, Any]) -> str | None:
    model = said.get("model")
    return model if isinstance(model, str) else None


def _settings(options: GenerationOptions) -> dict[str, Any]:
    sampling = dataclasses.asdict(options.sampling)
    bias = sampling.pop("logit_bias")
    if bias:
        sampling["logit_bias"] = {str(token): value for token, value in bias.items()}
    said: dict[str, Any] = {**sampling, "max_tokens": options.max_tokens, "stop": list(options.stop)}
    if options.enable_thinking is not None:
        said["enable_thinking"] = options.enable_thinking
    if options.adapters is not None:
        said["adapter"] = [f"{use.directory}={use.weight:g}" for use in options.adapters]
    if options.grammar is not None:
        said[_FORMS[options.grammar.kind]] = options.grammar.text
    return said


def options_of(saved: SavedChat, base: GenerationOptions, changes: Mapping[str, Any]) -> GenerationOptions:
    """Return `base` with the settings of a saved chat, and `changes` over them.

    Raises:
        OptionError, UnsupportedError: a setting that does not exist or is not what it may be.
    """
    settings = dict(saved.settings)
    bias = settings.get("logit_bias")
    if isinstance(bias, Mapping):
        settings["logit_bias"] = {int(t) if str(t).isdigit() else t: value for t, value in bias.items()}
    return base.changed(**settings).changed(**changes)
