"""Who takes part: a model, an adapter on it, a system prompt and settings of its answers, under a name.

    smollm2-135m-instruct-4bit
    tuned=smollm2-135m-instruct-4bit,adapter=poems,temp=0.7,system=poet.txt

Plain values; nothing is loaded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from edgelm.errors import NotFoundError, OptionError
from edgelm.options import check_names
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.sampling.settings import Sampling
from edgelm.units import count

_ALIASES = {"temp": "temperature", "thinking": "enable_thinking"}
_WORDS = {"on": True, "off": False, "true": True, "false": False}
SETTINGS = frozenset(
    {"max_tokens", "enable_thinking", "stop"} | {item.name for item in dataclasses.fields(Sampling)}
) - {"logit_bias"}
"""What may be said of a contestant's answers."""


@dataclass(frozen=True)
class Contestant:
    """One side of comparisons.

    Attributes:
        model: a name of the library, a path, or a Hub id.
        name: what reports call it; the default is made of model and adapter.
        adapter: an adapter on the model, `=WEIGHT` behind it; None is the model itself.
        system: its system prompt, in the place of a prompt's own; None leaves that.
        settings: of `GenerationOptions` and `Sampling` by name; what is not said is as the model recommends.

    Raises:
        OptionError: a setting that is none or out of bounds; an empty name.
    """

    model: str
    name: str = ""
    adapter: str | None = None
    system: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_names(self.settings, SETTINGS)
        GenerationOptions().changed(**self.settings)
        if not self.model:
            raise OptionError("a contestant has no model, expected a name or a path")
        if not self.name:
            parts = [self.model.rstrip("/"), *([self.adapter.rstrip("/")] if self.adapter else [])]
            object.__setattr__(self, "name", "+".join(part.rpartition("/")[2] for part in parts))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `[NAME=]MODEL[,adapter=…][,system=FILE][,temp=…]…`; a system prompt is read from its file.

        Raises:
            OptionError: text of another form, or a setting that is none.
            NotFoundError: no such file.
        """
        head, *rest = text.split(",")
        name, _, model = head.rpartition("=")
        if not model or any("=" not in part for part in rest):
            raise OptionError(
                f"{text!r} is no contestant, expected [NAME=]MODEL[,SETTING=VALUE…]",
                hint="as in tuned=MODEL,adapter=NAME,temp=0.7,system=FILE",
            )
        given: dict[str, Any] = {}
        for part in rest:
            key, _, value = part.partition("=")
            key = _ALIASES.get(key.strip().replace("-", "_"), key.strip().replace("-", "_"))
            if key in given:
                raise OptionError(f"{text!r} says {key} twice")
            given[key] = value
        adapter, system = given.pop("adapter", None), given.pop("system", None)
        check_names(given, {*SETTINGS, *_ALIASES, "adapter", "system"})
        settings = {key: _value(value) for key, value in given.items()}
        return cls(model, name, adapter, None if system is None else _read(Path(system)), settings)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, from which `Contestant(**…)` makes an equal one."""
        return {**dataclasses.asdict(self), "settings": dict(self.settings)}

    def asked(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages that this contestant answers: under its own system prompt, if it has one."""
        if self.system is None:
            return [dict(message) for message in messages]
        rest = [dict(message) for message in messages if message["role"] not in ("system", "developer")]
        return [{"role": "system", "content": self.system}, *rest] if self.system else rest


def contestants_of(given: Sequence[Contestant | str]) -> list[Contestant]:
    """Read contestants, each by itself or as text; those that would share a name get a number behind it.

    Raises:
        OptionError: fewer than two, or a name that was given twice.
    """
    found = [each if isinstance(each, Contestant) else Contestant.parse(each) for each in given]
    if len(found) < 2:
        raise OptionError(
            f"{count(len(found), 'contestant', 'contestants')}, expected two or more",
            hint="edgelm arena MODEL MODEL",
        )
    names: set[str] = set()
    distinct = []
    for each in found:
        name, at = each.name, 1
        while name in names:
            at += 1
            name = f"{each.name}-{at}"
        names.add(name)
        distinct.append(dataclasses.replace(each, name=name))
    return distinct


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}", hint="system= names a file of text") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is no text in UTF-8: {error}") from error
