"""Whether a network computes several sequences as it computes each alone: tried on it, not looked up.

Of mlx-lm's architectures some ignore the padding of their recurrent states, some need positions as plain
numbers, and a few have caches that cannot stand side by side. Two short sequences of random tokens, one much
shorter, go through the network alone and together; the logits must agree.

Shapes: B sequences, S steps, V vocab.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

import mlx.core as mx

from edgelm.runtime.batching.batch_cache import CHUNKS, BatchCache
from edgelm.runtime.runner import ModelRunner
from edgelm.zoo.caches.batch import stands_side_by_side
from edgelm.zoo.caches.leaves import MakeLayers
from edgelm.zoo.fixes.longrope import regime_of

Batching = Literal["prompts", "tokens", "none"]
"""What may be computed together: prompts and tokens, the tokens of prompts computed one by one, or nothing."""

_LENGTHS = (40, 3)  # windows up to this, which tiny networks have, are wrapped too
_STEPS = 3
# Of the logits' standard deviation. A padding token taken for text moves them by about one; the order of
# additions by 1e-5 in float32 and by a few hundredths in half precision.
_TOLERANCE, _HALF_TOLERANCE = 0.01, 0.2


def find_batching(network: Any, make_layers: MakeLayers, vocab_size: int) -> Batching:
    """Return the most that gives the same logits; some ten short forward passes."""
    if regime_of(network) is not None or not all(map(stands_side_by_side, make_layers())):
        return "none"  # LongRoPE turns a sequence by how long it is, and side by side they share one answer
    drawn = random.Random(0)
    prompts = [[drawn.randrange(vocab_size) for _ in range(length + _STEPS)] for length in _LENGTHS]
    expected = mx.concatenate([_alone(network, make_layers, prompt) for prompt in prompts], axis=1)
    if _agree(expected, _together(network, make_layers, prompts, pads=True)):
        return "prompts"
    return "tokens" if _agree(expected, _together(network, make_layers, prompts, pads=False)) else "none"


def _alone(network: Any, make_layers: MakeLayers, prompt: list[int]) -> mx.array:
    """Logits `[S, 1, V]` of the last tokens."""
    layers, runner = make_layers(), ModelRunner(network)
    runner.prefill(mx.array([prompt[:-_STEPS]]), layers, CHUNKS)
    steps = [runner.step(mx.array([token]), layers) for token in prompt[-_STEPS:]]
    logits = mx.stack(steps)
    mx.eval(logits)
    return logits


def _together(
    network: Any, make_layers: MakeLayers, prompts: Sequence[list[int]], *, pads: bool
) -> mx.array | None:
    """Logits `[S, B, V]` of the last tokens of each; None where the network cannot."""
    together = BatchCache(ModelRunner(network), pads=pads)
    try:
        together.join([prompt[:-_STEPS] for prompt in prompts], [make_layers() for _ in prompts], _never)
        last = zip(*(prompt[-_STEPS:] for prompt in prompts), strict=True)
        logits = mx.stack([together.step(mx.array(ids)) for ids in last])
        mx.eval(logits)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RuntimeError):
        # Whatever an architecture that expects one sequence stumbles over.
        return None
    return logits


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
