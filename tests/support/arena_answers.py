"""Arenas without a network: models that answer by a rule, in directories that only have what hashes are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from edgelm.api import find_model
from edgelm.arena.arena import Arena
from edgelm.arena.contestants import Contestant
from edgelm.errors import PromptError
from edgelm.runtime.events import Usage
from edgelm.runtime.generation.completion import Completion
from edgelm.runtime.many.results import BatchResult


def write_named_model(home: Path, name: str) -> Path:
    """A directory in the library that is taken for a model until somebody loads it."""
    directory = home / "models" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "name": name}))
    save_file({"w": np.full(4, len(name), dtype=np.float32)}, directory / "model.safetensors")
    return directory


class RuleModel:
    """Answers as a rule says, given the model's name, the question and the settings; `None` fails."""

    def __init__(
        self, directory: Path, rule: Callable[[str, str, Mapping[str, Any]], str | None], log: list[Any]
    ):
        self._name, self._rule, self._log = directory.name, rule, log

    def generate_many(
        self, prompts: Iterable[Mapping[str, Any]], *, rows: int | None = None
    ) -> Iterator[BatchResult]:
        for index, prompt in enumerate(prompts):
            self._log.append((self._name, prompt))
            text = self._rule(self._name, prompt["messages"][-1]["content"], prompt)
            if text is None:
                yield BatchResult(index, error=PromptError("too long"))
            else:
                usage = Usage(1, 0, 1, 0.0, 0.0, 0.0, 0)
                yield BatchResult(index, Completion(text=text, reason="stop", usage=usage))

    def close(self) -> None:
        self._log.append((self._name, "closed"))


def says_all(name: str, question: str, prompt: Mapping[str, Any]) -> str:
    return f"{question} as seen at {prompt['temperature']} by number {len(name)}"


def make_arena(
    home: Path,
    *,
    prompts: int = 20,
    models: Iterable[str] = ("left", "right-one"),
    rule: Callable[[str, str, Mapping[str, Any]], str | None] = says_all,
    log: list[Any] | None = None,
    name: str = "trial",
    seed: int = 0,
) -> Arena:
    """An arena of models that were written by `write_named_model` where they are not there."""
    names = list(models)
    for each in names:
        if not (home / "models" / each).exists():
            write_named_model(home, each)
    asked = [f"question {at}" for at in range(prompts)]
    arena = Arena.create([Contestant(each) for each in names], asked, find=find_model, name=name, seed=seed)
    used: list[Any] = [] if log is None else log
    arena.answer(find_model, lambda directory: RuleModel(directory, rule, used))
    return arena
