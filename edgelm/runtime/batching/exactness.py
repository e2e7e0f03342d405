"""Whether a network computes several sequences as it computes each alone: tried on it, not looked up.

Of mlx-lm's architectures some ignore the padding of their recurrent states, some need positions as plain
numbers, and a few have caches that cannot stand side by side. Two short sequences of random tokens, one much
shorter, go through the network alone and together; the logits must agree. So it is with rows under different adapters.

Shapes: B sequences, S steps, V vocab.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Literal

import mlx.core as mx

from edgelm.adapters.acting.rows import Acting
from edgelm.adapters.acting.variant import Variant
from edgelm.errors import EngineError
from edgelm.runtime.batching.batch_cache import CHUNKS, BatchCache
from edgelm.runtime.runner import ModelRunner
from edgelm.zoo.caches.batch import stands_side_by_side
from edgelm.zoo.caches.leaves import MakeLayers
from edgelm.zoo.fixes.longrope import regime_of

Batching = Literal["prompts", "tokens", "none"]
"""What may be computed together: prompts and tokens, the tokens of prompts computed one by one, or nothing."""

_LENGTHS = (40, 3)  # windows up to this, which tiny networks have, are wrapped too
_MIXED_LENGTHS = (9, 7)
_STEPS = 3
_HOST_SHARE = 0.4
"""From this part of a step on, compiling is worth a try: the host of 135M parameters on a CPU takes 0.1 to 0.3 of it."""
# Of the logits' standard deviation. A padding token taken for text moves them by about one; the order of
# additions by 1e-5 in float32 and by a few hundredths in half precision.
_TOLERANCE, _HALF_TOLERANCE = 0.01, 0.2


def find_batching(network: Any, make_layers: MakeLayers, vocab_size: int) -> Batching:
    """Return the most that gives the same logits; some ten short forward passes."""
    if regime_of(network) is not None or not all(map(stands_side_by_side, make_layers())):
        return "none"  # LongRoPE turns a sequence by how long it is, and side by side they share one answer
    drawn = random.Random(0)
    prompts = [[drawn.randrange(vocab_size) for _ in range(length + _STEPS)] for length in _LENGTHS]
    runner = ModelRunner(network)
    expected = mx.concatenate([_alone(runner, make_layers, prompt) for prompt in prompts], axis=1)
    if _agree(expected, _together(runner, make_layers, prompts, pads=True)):
        return "prompts"
    return "tokens" if _agree(expected, _together(runner, make_layers, prompts, pads=False)) else "none"


def compiles(network: Any, make_layers: MakeLayers, vocab_size: int, *, pads: bool) -> bool:
    """Return whether a compiled step (`compiled_step.py`) gives the logits of one that is not, and may be worth it.

    It is where the host takes a good part of a step's time: elsewhere fused kernels save nothing. The first time on a machine
    they are compiled meanwhile, which takes seconds on a CPU.
    """
    drawn = random.Random(0)
    prompts = [[drawn.randrange(vocab_size) for _ in range(length + _STEPS)] for length in _LENGTHS]
    runner = ModelRunner(network)
    shares: list[float] = []
    expected = _together(runner, make_layers, prompts, pads=pads, host_shares=shares)
    if expected is None or max(shares) < _HOST_SHARE:
        return False
    return _agree(expected, _together(runner, make_layers, prompts, pads=pads, is_compiled=True))


def mixes_variants(
    network: Any, acting: Acting, make_layers: MakeLayers, vocab_size: int, variant: Variant, *, pads: bool
) -> bool:
    """Return whether a row under adapters and one of the base come out beside each other as they do alone.

    A module may get the rows in a form in which it cannot tell them apart. A row that was mistaken for another is off by what
    the adapters change, so an error far below that is rounding. Some twenty short forward passes.
    """
    drawn = random.Random(0)
    prompts = [[drawn.randrange(vocab_size) for _ in range(length + _STEPS)] for length in _MIXED_LENGTHS]
    runner = ModelRunner(network, acting)

    def alone(rows: Sequence[Variant]) -> mx.array:
        found = (_alone(runner.of([row]), make_layers, ids) for row, ids in zip(rows, prompts, strict=True))
        return mx.concatenate(list(found), axis=1)

    rows = [variant, acting.base]
    expected, swapped = alone(rows), alone(rows[::-1])
    found = _together(runner, make_layers, prompts, pads=pads, variants=rows)
    if found is None:
        return False
    rounding = (1e-4 if expected.dtype == mx.float32 else 1e-2) * mx.max(mx.abs(expected))
    effect, error = _typical(swapped - expected), _typical(found - expected)
    return bool(mx.all(error <= mx.maximum(0.2 * effect, rounding)).item())


def _typical(difference: mx.array) -> mx.array:
    """The largest difference of each sequence's logits `[S, B, V]`, `[B]`, at the step in the middle: see `_agree`."""
    return mx.sort(mx.max(mx.abs(difference), axis=-1), axis=0)[_STEPS // 2]


def _alone(runner: ModelRunner, make_layers: MakeLayers, prompt: list[int]) -> mx.array:
    """Logits `[S, 1, V]` of the last tokens."""
    layers = make_layers()
    runner.prefill(mx.array([prompt[:-_STEPS]]), layers, CHUNKS)
    steps = [runner.step(mx.array([token]), layers) for token in prompt[-_STEPS:]]
    logits = mx.stack(steps)
    mx.eval(logits)
    return logits


def _together(
    runner: ModelRunner,
    make_layers: MakeLayers,
    prompts: Sequence[list[int]],
    *,
    pads: bool,
    variants: Sequence[Variant] = (),
    is_compiled: bool = False,
    host_shares: list[float] | None = None,
) -> mx.array | None:
    """Logits `[S, B, V]` of the last tokens of each; None where the network cannot.

    Args:
        is_compiled: with compiled steps; None too where there were none.
        host_shares: gets, for each step, which part of its time its host took.
    """
    together = BatchCache(runner, pads=pads, compiled_after=0 if is_compiled else None)
    try:
        beginnings = [prompt[:-_STEPS] for prompt in prompts]
        together.join(beginnings, [make_layers() for _ in prompts], _never, variants)
        last = zip(*(prompt[-_STEPS:] for prompt in prompts), strict=True)
        steps = []
        for ids in last:
            began, began_host = time.perf_counter(), time.thread_time()
            steps.append(together.step(mx.array(ids)))
            mx.async_eval(steps[-1])  # type: ignore[no-untyped-call]
            host_s = time.thread_time() - began_host
            if host_shares is not None:
                mx.eval(steps[-1])
                host_shares.append(host_s / (time.perf_counter() - began))
        logits = mx.stack(steps)
        mx.eval(logits)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RuntimeError, EngineError):
        # Whatever an architecture that expects one sequence stumbles over.
        return None
    return None if is_compiled and not together.compiled_steps else logits


def _agree(expected: mx.array, found: mx.array | None) -> bool:
    """Whether each sequence's logits `[S, B, V]` are the same at most of its steps.

    Not at all: in half precision a mixture of experts may choose another expert for one token.
    """
    if found is None:
        return False
    tolerance = _TOLERANCE if expected.dtype == mx.float32 else _HALF_TOLERANCE
    expected, found = expected.astype(mx.float32), found.astype(mx.float32)
    error = mx.sqrt(mx.mean(mx.square(found - expected), axis=-1)) / mx.std(expected, axis=-1)  # [S, B]
    return bool(mx.all(mx.sort(error, axis=0)[_STEPS // 2] <= tolerance).item())


def _never() -> bool:
    return False
