"""What one answer is made from: hashes of prompt, model, adapter and template, the sampler and its seed. Loads nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgelm.adapters.find import find_uses
from edgelm.adapters.use import AdapterUse
from edgelm.arena.contestants import Contestant
from edgelm.json_files import read_json
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.recommended import default_options, recommended
from edgelm.zoo.weights.fingerprint import adapter_fingerprint, fingerprint

Find = Callable[[str], Path]
"""Finds the directory of a model by its name; `edgelm.api.find_model` does."""


@dataclass(frozen=True)
class Entrant:
    """A contestant whose model and adapter were found."""

    contestant: Contestant
    directory: Path
    adapters: tuple[AdapterUse, ...]

    @classmethod
    def of(cls, contestant: Contestant, find: Find) -> Entrant:
        """Find a contestant's model and adapter.

        Raises:
            NotFoundError, FormatError, UnsupportedError, NetworkError: about the model or the adapter.
        """
        directory = find(contestant.model)
        given = [contestant.adapter] if contestant.adapter else []
        return cls(contestant, directory, find_uses(given, directory))

    @cached_property
    def weights(self) -> str:
        """The fingerprint of the model's weights."""
        return fingerprint(self.directory)

    @cached_property
    def acting(self) -> list[tuple[str, float]]:
        """The fingerprints of the adapters that act, with their weights."""
        return [(adapter_fingerprint(use.directory), use.weight) for use in self.adapters]

    @cached_property
    def template(self) -> str:
        """A hash of the chat template's files."""
        found = hashlib.sha256()
        for name in ("chat_template.jinja", "chat_template.json"):
            path = self.directory / name
            found.update(path.read_bytes() if path.exists() else b"-")
        config = self.directory / "tokenizer_config.json"
        said = read_json(config).get("chat_template") if config.exists() else None
        found.update(json.dumps(said, sort_keys=True).encode())
        return found.hexdigest()[:32]

    def options(self, *, seed: int, max_tokens: int) -> GenerationOptions:
        """Return how an answer is made: the contestant's settings over what the model recommends; with a seed in any case."""
        said = {"seed": seed, "max_tokens": max_tokens, **self.contestant.settings}
        return default_options(recommended(self.directory), thinks=False).changed(**said)


@dataclass(frozen=True, slots=True)
class Origin:
    """What an answer is made from."""

    messages: tuple[dict[str, Any], ...]
    settings: dict[str, Any]
    """As `Model.generate_many` takes them."""
    made_from: dict[str, Any]

    @property
    def key(self) -> str:
        """The hash of all of it: equal keys, equal answers."""
        return digest(self.made_from)


def origin_of(
    entrant: Entrant, messages: Sequence[Mapping[str, Any]], *, seed: int, max_tokens: int
) -> Origin:
    """Say what a contestant's answer to a prompt is made from.

    Args:
        messages: the prompt.
        seed: the arena's, of which the answer's own follows where the contestant has none.
        max_tokens: of the answer, where the contestant says nothing else.
    """
    asked = entrant.contestant.asked(messages)
    own = int(digest([seed, list(messages)]), 16) % 2**63
    options = entrant.options(seed=own, max_tokens=max_tokens)
    sampler = dataclasses.asdict(options.sampling)
    drawn = {name: value for name, value in sampler.items() if name not in ("seed", "logit_bias")}
    # Without chance a seed changes nothing.
    seeded = None if options.sampling.is_greedy else options.sampling.seed
    rest: dict[str, Any] = {
        "max_tokens": options.max_tokens,
        "enable_thinking": options.enable_thinking,
        "stop": list(options.stop),
    }
    made_from = {
        "prompt": digest(asked),
        "model": entrant.weights,
        "adapter": entrant.acting,
        "template": entrant.template,
        "sampler": {name: _as_number(value) for name, value in drawn.items()} | rest,
        "seed": seeded,
    }
    adapters = [f"{use.directory.absolute()}={use.weight}" for use in entrant.adapters]
    settings = drawn | rest | {"seed": options.sampling.seed, "adapter": adapters}
    return Origin(tuple(asked), settings, made_from)


def _as_number(value: Any) -> Any:
    """A whole number as JSON writes others: a temperature of 1 is one of 1.0."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def digest(value: Any) -> str:
    """Return 32 hexadecimal digits of a value that JSON can write."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
