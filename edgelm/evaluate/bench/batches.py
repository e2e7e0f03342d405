"""Sixteen short prompts at once: tokens per second of all together, prefill included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

from edgelm.evaluate.bench.report import Case
from edgelm.evaluate.bench.rig import Rig
from edgelm.evaluate.bench.texts import QUESTIONS
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.many.prompts import Task
from edgelm.runtime.many.results import BatchResult
from edgelm.text.prompt import encode_text
from edgelm.units import count


def measure(rig: Rig) -> Iterator[Case]:
    """Yield the case of the questions answered together, beside one by one and by the peer."""
    loaded = rig.ready.loaded
    prompts = [encode_text(loaded.tokenizer, text) for text in QUESTIONS]
    new_tokens = rig.options.new_tokens
    options = GenerationOptions(max_tokens=new_tokens)
    tasks = [Task(index, tuple(prompt), options) for index, prompt in enumerate(prompts)]

    def together() -> float:
        started = time.perf_counter()
        events = rig.ready.answer(tasks, Event())
        results = [event for event in events if isinstance(event, BatchResult)]
        return _tokens_per_s([len(result.tokens) for result in results], started)

    def one_by_one() -> float:
        started = time.perf_counter()
        return _tokens_per_s([_alone(rig, prompt, new_tokens) for prompt in prompts], started)

    sides = {"edgelm": together, "one by one": one_by_one}
    if rig.compares:
        from edgelm.zoo import peer

        sides["mlx-lm"] = peer.batch(loaded.network, loaded.tokenizer, prompts, new_tokens)
    together()  # finds out what the network can compute together
    spreads = rig.by_turns(sides)
    name = f"{count(len(prompts), 'prompt')} at once, {count(new_tokens, 'token')} each at most"
    yield Case(
        name,
        "token/s",
        spreads["edgelm"],
        without=spreads["one by one"],
        without_what="one by one",
        peer=spreads.get("mlx-lm"),
    )


def _alone(rig: Rig, prompt: list[int], new_tokens: int) -> int:
    return len(rig.generate(prompt, new_tokens, speculation=True, stops=True).tokens)


def _tokens_per_s(counts: list[int], started: float) -> float:
    return sum(counts) / (time.perf_counter() - started)
