"""Whether a network says the same of a position however many are computed beside it.

Guessing ahead computes several positions at once, and a GPU takes other kernels for other widths: where their choices
differ, an answer with guesses is another one than without (runtime/speculation). On MLX's CPU backend they do not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

WIDTHS = tuple(range(1, 18))
_CONTEXT = 128
_POSITIONS = 68
"""That are compared: as many as 17 fits into four times."""


@dataclass(frozen=True, slots=True)
class Width:
    """What steps of so many positions say, against steps of one."""

    width: int
    positions: int
    other_choices: int
    """Positions whose likeliest token is another one."""
    largest_difference: float
    """How far logits differ, at most."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Every width that was tried."""

    widths: tuple[Width, ...]

    def table(self) -> list[list[str]]:
        """Return a header and a row for each width."""
        rows = [
            [
                str(found.width),
                f"{found.other_choices} of {found.positions}",
                f"{found.largest_difference:.3g}",
            ]
            for found in self.widths
        ]
        return [["width", "other choices", "logits differ by"], *rows]


def measure_widths(directory: Path, widths: Sequence[int] = WIDTHS) -> Widths:
    """Compare widths with the model in `directory`, loaded as for chatting, on what it says by itself, greedily."""
    from edgelm.model.load import load
    from edgelm.runtime.engine import caches_of

    loaded = load(directory)
    tokens = _spoken(loaded.network, caches_of(loaded.network), loaded.vocab_size)
    return Widths(compare_widths(loaded.network, caches_of(loaded.network), tokens, widths))


def compare_widths(
    network: Any, make_layers: Any, tokens: Sequence[int], widths: Sequence[int], context: int = _CONTEXT
) -> tuple[Width, ...]:
    """Feed `tokens` after the first `context` of them in steps of each width, and compare with steps of one.

    Args:
        network: an mlx-lm model, `logits[1, T, V] = network(ids[1, T], cache=layers)`.
        make_layers: makes its fresh caches.
    """
    one = _logits(network, make_layers, tokens, context, 1)
    return tuple(
        _compared(one, _logits(network, make_layers, tokens, context, width), width) for width in widths
    )


def _logits(network: Any, make_layers: Any, tokens: Sequence[int], context: int, width: int) -> mx.array:
    """[T, V] of the positions from `context` on."""
    layers = make_layers()
    mx.eval(network(mx.array([tokens[:context]]), cache=layers))
    parts = []
    for at in range(context, len(tokens), width):
        parts.append(network(mx.array([tokens[at : at + width]]), cache=layers)[0].astype(mx.float32))
        mx.eval(parts[-1])
    return mx.concatenate(parts)


def _compared(one: mx.array, many: mx.array, width: int) -> Width:
    other = mx.sum(mx.argmax(one, axis=-1) != mx.argmax(many, axis=-1))
    difference = mx.max(mx.abs(one - many))
    return Width(width, one.shape[0], _number(other), float(np.array(difference)))


def _spoken(network: Any, make_layers: Any, vocab_size: int) -> list[int]:
    """Tokens to go through: seeded random ones to begin with, then the network's own choices."""
    seeded = random.Random(0)
    tokens = [seeded.randrange(vocab_size) for _ in range(_CONTEXT)]
    layers = make_layers()
    logits = network(mx.array([tokens]), cache=layers)
    while len(tokens) < _CONTEXT + _POSITIONS:
        tokens.append(_number(mx.argmax(logits[0, -1])))
        logits = network(mx.array([tokens[-1:]]), cache=layers)
    return tokens


def _number(value: mx.array) -> int:
    return int(np.array(value))
