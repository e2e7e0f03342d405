"""What a model's own files recommend: how its answers are sampled and how long they may be.

The settings of an answer have four layers, of which the first that speaks counts: what is said for the answer, what its chat
has saved, what the model recommends, and edgelm's own defaults. Only this module reads the third; the others are laid over it
by `GenerationOptions.changed`. `generation_config.json` means what it means to transformers 5
(`GenerationConfig._get_default_generation_params`): without `"do_sample": true` an answer is greedy, whatever else it says, and
with it, what it leaves open is transformers' own default. A value that cannot be used is passed over, and named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelm.errors import OptionError
from edgelm.json_files import read_json
from edgelm.runtime.generation.options import DEFAULT_MAX_TOKENS, THINKING_MAX_TOKENS, GenerationOptions
from edgelm.runtime.sampling.settings import Sampling

_FILE = "generation_config.json"
_WHERE_UNSAID = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0}
_WHOLE = 1 << 31
"""transformers' repetition penalty looks back on the whole text."""


@dataclass(frozen=True)
class Recommended:
    """What one model recommends.

    Attributes:
        settings: of `Sampling`, by name; without any, the model says nothing.
        max_tokens: the longest answer, if the model names one.
        passed_over: what cannot be used, in words.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def sampling(self) -> Sampling:
        """The sampler of an answer for which nothing else is said."""
        return Sampling(**self.settings)

    def in_words(self, settings: Mapping[str, Any]) -> str:
        """Return what of it acts beside `settings`, which are said elsewhere; empty if nothing does."""
        said = {name for name, value in settings.items() if value is not None}
        if "sampling" in said or settings.get("greedy"):
            return ""
        is_greedy = settings.get("temperature", self.settings.get("temperature", 0.0)) == 0
        shown = [name for name in self.settings if name not in said and self._acts(name, is_greedy=is_greedy)]
        return ", ".join(f"{name} {self.settings[name]:g}" for name in shown)

    def _acts(self, name: str, *, is_greedy: bool) -> bool:
        neutral = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        if name not in neutral or self.settings[name] == neutral[name]:
            return False
        return name == "repetition_penalty" or not is_greedy


def recommended(directory: Path) -> Recommended:
    """Return what the model in `directory` recommends.

    Raises:
        FormatError: its generation_config.json is not a JSON object.
    """
    path = directory / _FILE
    return read_recommended(read_json(path)) if path.exists() else Recommended()


def read_recommended(said: Mapping[str, Any]) -> Recommended:
    """Return what the fields of a `generation_config.json` recommend."""
    reader = _Reader(said)
    penalty = reader.number("repetition_penalty")
    named = {name: value for name in _WHERE_UNSAID if (value := reader.number(name)) is not None}
    settings: dict[str, Any] = {}
    if reader.samples() and named.get("temperature") != 0:
        settings = _WHERE_UNSAID | named
    elif said.keys() & {"do_sample", *_WHERE_UNSAID}:
        settings = named | {"temperature": 0.0}  # the others act where somebody asks for a temperature
    if penalty is not None:
        settings |= {"repetition_penalty": penalty, "repetition_window": reader.window()}
    return Recommended(settings, reader.length(), tuple(reader.passed_over))


def default_options(said: Recommended, *, thinks: bool) -> GenerationOptions:
    """Return how the answers of a model are made where nothing else is said, given what it recommends."""
    own = THINKING_MAX_TOKENS if thinks else DEFAULT_MAX_TOKENS
    return GenerationOptions(sampling=said.sampling, max_tokens=said.max_tokens or own)


class _Reader:
    """Reads one field at a time, and notes those that are of no use."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said = said
        self.passed_over: list[str] = []

    def samples(self) -> bool:
        """Return whether answers are drawn."""
        value = self._said.get("do_sample")
        if not isinstance(value, bool | None):
            self.passed_over.append(
                f"{_FILE}: do_sample is {value!r}, expected true or false; it is passed over"
            )
        return value is True

    def number(self, name: str) -> float | int | None:
        """Return a setting of `Sampling`; None where it is not said, null, or nothing that it may be."""
        value: Any = self._said.get(name)
        if value is None:
            return None
        if name == "top_k":
            value = _whole(value)
            value = 0 if value == -1 else value  # vLLM's word for all
        try:
            one: dict[str, Any] = {name: value}
            Sampling(**one)
        except OptionError as error:
            self.passed_over.append(f"{_FILE}: {error.message}; it is passed over")
            return None
        return value if isinstance(value, int) else float(value)

    def window(self) -> int:
        """Return the tokens that the repetition penalty looks back on; llama.cpp says them, transformers takes all."""
        value = _whole(self._said.get("penalty_last_n"))
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else _WHOLE

    def length(self) -> int | None:
        """Return the tokens of the longest answer."""
        value = self._said.get("max_new_tokens")
        whole = _whole(value)
        if whole is None:
            return None
        if isinstance(whole, bool) or not isinstance(whole, int) or whole < 1:
            self.passed_over.append(
                f"{_FILE}: max_new_tokens is {value!r}, expected int >= 1; it is passed over"
            )
            return None
        return whole


def _whole(value: Any) -> Any:
    """A float that is a whole number as one: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value
