"""The same work by stock mlx-lm, on the same network: what its users get, timed from outside.

Import it inside functions: it imports mlx_lm.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.generate import batch_generate, generate_step
from mlx_lm.models.cache import make_prompt_cache

_CHUNK = inspect.signature(generate_step).parameters["prefill_step_size"].default
"""mlx-lm's own: what its users get."""


def filled_cache(network: Any, tokens: list[int]) -> list[Any]:
    """mlx-lm's caches after `tokens`."""
    layers: list[Any] = make_prompt_cache(network)
    for at in range(0, len(tokens), _CHUNK):
        network(mx.array([tokens[at : at + _CHUNK]]), cache=layers)
        mx.eval([layer.state for layer in layers])
    return layers


def first_token_s(network: Any, layers: list[Any], prompt: list[int]) -> float:
    """Measure the seconds from a prompt to its first token, after what is in `layers`, which stay as they are."""
    return _timed(network, layers, prompt, 1)[0]


def decode_tokens_per_s(network: Any, layers: list[Any], prompt: list[int], new_tokens: int) -> float:
    """Measure the tokens after the first, per second."""
    return (new_tokens - 1) / _timed(network, layers, prompt, new_tokens)[1]


def _timed(network: Any, layers: list[Any], prompt: list[int], new_tokens: int) -> tuple[float, float]:
    """Seconds to the first token, and from there to the last."""
    layers = copy.deepcopy(layers)
    started = time.perf_counter()
    steps = generate_step(mx.array(prompt), network, max_tokens=new_tokens, prompt_cache=layers)
    next(steps)
    first = time.perf_counter()
    for _ in steps:
        pass
    return first - started, time.perf_counter() - first


def batch(network: Any, tokenizer: Any, prompts: Sequence[list[int]], new_tokens: int) -> Callable[[], float]:
    """Return what answers `prompts` together once and gives the tokens per second."""

    def run() -> float:
        started = time.perf_counter()
        stream = mx.default_stream(mx.default_device())  # its own belongs to the thread that imported it
        done = batch_generate(
            network, tokenizer, list(prompts), max_tokens=new_tokens, return_token_ids=True, stream=stream
        )
        return sum(map(len, done.token_ids)) / (time.perf_counter() - started)

    return run
