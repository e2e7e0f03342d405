"""Decoding as it is asked for: with log-probabilities, held to a schema, drawn, by a draft model; and a drawn batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm.evaluate.bench.report import Case
from edgelm.evaluate.bench.rig import Rig, Sides
from edgelm.evaluate.bench.texts import OPEN_ENDED, QUESTIONS
from edgelm.runtime.generation.completion import collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import generate_text
from edgelm.runtime.many.prompts import Task
from edgelm.runtime.many.results import BatchResult
from edgelm.text.prompt import encode_text

NUMBERS = {"type": "array", "items": {"type": "integer"}, "minItems": 4096}
"""A schema whose answers do not end before they are measured."""
_KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("with log-probabilities", {"logprobs": 5}),
    ("held to a schema", {"schema": NUMBERS}),
    ("drawn at temperature 0.8", {"temperature": 0.8, "top_p": 0.95, "seed": 1}),
)
_DRAWN = {"temperature": 0.8, "top_p": 0.95, "seed": 1}


def measure(rig: Rig) -> Iterator[Case]:
    """Yield a case for each kind of answer beside a plain one; what the tokenizer cannot do is noted in `rig.skipped`."""
    prompt = encode_text(rig.ready.loaded.tokenizer, OPEN_ENDED)
    for name, settings in _KINDS:
        try:
            yield _measure(rig, prompt, name, settings)
        except UnsupportedError as error:
            rig.skipped.append(f"{name}: {error.message}")
    if rig.options.draft is not None:
        yield _measure(rig, prompt, "guessed by the draft model", {"speculation": True})
    yield _drawn_batch(rig)


def longest_prompt(rig: Rig) -> int:
    """Return the tokens that the case needs."""
    return len(encode_text(rig.ready.loaded.tokenizer, OPEN_ENDED)) + rig.options.new_tokens + 1


def _measure(rig: Rig, prompt: list[int], name: str, settings: dict[str, Any]) -> Case:
    new_tokens = rig.options.new_tokens
    plain = GenerationOptions(max_tokens=new_tokens).changed(speculation=False)
    asked = plain.changed(**settings)
    sides: dict[str, Any] = {
        "edgelm": lambda: _decoded(rig, prompt, asked),
        "plain": lambda: _decoded(rig, prompt, plain),
    }
    if rig.compares:
        from edgelm.zoo import peer

        layers = peer.filled_cache(rig.network, prompt[:-1])
        sides["mlx-lm"] = lambda: peer.decode_tokens_per_s(rig.network, layers, prompt[-1:], new_tokens)
    sides["edgelm"]()  # what is compiled, or learnt of a grammar, is not measured
    spreads = rig.by_turns(sides)
    return Case(
        f"decode {new_tokens}, {name}", "token/s", spreads["edgelm"], without=spreads["plain"], without_what="plain",
        peer=spreads.get("mlx-lm"),
    )  # fmt: skip


def _decoded(rig: Rig, prompt: list[int], options: GenerationOptions) -> float:
    loaded = rig.ready.loaded
    # A constraint has to be able to end; others go on to the number of tokens that is asked for.
    stops = loaded.stop_tokens if options.grammar is not None else frozenset()
    events = generate_text(rig.ready.engine, loaded.tokenizer, prompt, options, Event(), stop_tokens=stops)
    done = collect(events)
    return done.usage.decode_tokens_per_s


def _drawn_batch(rig: Rig) -> Case:
    tokenizer = rig.ready.loaded.tokenizer
    prompts = [encode_text(tokenizer, text) for text in QUESTIONS]
    plain = GenerationOptions(max_tokens=rig.options.new_tokens)
    sides: Sides = {
        "edgelm": lambda: _together(rig, prompts, plain.changed(**_DRAWN)),
        "greedy": lambda: _together(rig, prompts, plain),
    }
    sides["edgelm"]()
    spreads = rig.by_turns(sides)
    return Case(
        f"{len(prompts)} prompts at once, drawn", "token/s", spreads["edgelm"], without=spreads["greedy"],
        without_what="greedy",
    )  # fmt: skip


def _together(rig: Rig, prompts: list[list[int]], options: GenerationOptions) -> float:
    tasks = [Task(index, tuple(prompt), options) for index, prompt in enumerate(prompts)]
    started = time.perf_counter()
    results = [event for event in rig.ready.answer(tasks, Event()) if isinstance(event, BatchResult)]
    return sum(len(result.tokens) for result in results) / (time.perf_counter() - started)
