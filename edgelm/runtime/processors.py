"""What changes the logits before a token is drawn: bias and penalties.

Each keeps its own history on the device, as lazy arrays, so that a step can be built before the token of the
one before it has been read. Knows nothing about sampling.

Shapes: V vocab, W window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import mlx.core as mx


class Processor(Protocol):
    """One change to the logits."""

    def apply(self, logits: mx.array) -> mx.array:
        """`[1, V]` → `[1, V]`."""

    def observe(self, token: mx.array) -> None:
        """Take note of the token `[1]` that was drawn."""


class Bias:
    """Adds fixed numbers to the logits of some tokens."""

    def __init__(self, bias: Mapping[int, float]) -> None:
        self._tokens = mx.array(list(bias))
        self._values = mx.array(list(bias.values()), dtype=mx.float32)

    def apply(self, logits: mx.array) -> mx.array:
        """`[1, V]` → `[1, V]` float32."""
        return logits.astype(mx.float32).at[:, self._tokens].add(self._values)

    def observe(self, token: mx.array) -> None:
        """The bias does not depend on what was drawn."""


class RepetitionPenalty:
    """Divides the positive logits of the last W tokens, prompt included, and multiplies the negative ones.

    CTRL (arXiv:1909.05858), sign-aware as in Hugging Face transformers; a token counts once.
    """

    def __init__(self, penalty: float, window: int, prompt: Sequence[int]) -> None:
        self._penalty = penalty
        self._window = window
        self._recent = mx.array(list(prompt[-window:]))  # [≤W]

    def apply(self, logits: mx.array) -> mx.array:
        """`[1, V]` → `[1, V]` float32."""
        logits = logits.astype(mx.float32)
        found = logits[:, self._recent]
        scaled = mx.where(found < 0, found * self._penalty, found / self._penalty)
        return mx.put_along_axis(logits, self._recent[None], scaled, axis=-1)

    def observe(self, token: mx.array) -> None:
        """Slide the window on."""
        recent = mx.concatenate([self._recent, token.astype(self._recent.dtype)])
        self._recent = recent[-self._window :]


class CountPenalty:
    """Lowers the logits of tokens that were generated, once and for each time.

    OpenAI's presence and frequency penalties: the prompt does not count, the whole completion does.
    """

    def __init__(self, presence: float, frequency: float, vocab_size: int) -> None:
        self._presence = presence
        self._frequency = frequency
        self._counts = mx.zeros((vocab_size,), dtype=mx.float32)  # [V]

    def apply(self, logits: mx.array) -> mx.array:
        """`[1, V]` → `[1, V]` float32."""
        seen = (self._counts > 0).astype(mx.float32)
        return logits.astype(mx.float32) - self._presence * seen - self._frequency * self._counts

    def observe(self, token: mx.array) -> None:
        """Count it."""
        self._counts = self._counts.at[token].add(1.0)


def make_processors(
    prompt: Sequence[int],
    vocab_size: int,
    *,
    bias: Mapping[int, float],
    repetition: float,
    window: int,
    presence: float,
    frequency: float,
) -> list[Processor]:
    """Those that these settings switch on, in the order in which they apply."""
    found: list[Processor] = []
    if bias:
        found.append(Bias(bias))
    if repetition != 1:
        found.append(RepetitionPenalty(repetition, window, prompt))
    if presence or frequency:
        found.append(CountPenalty(presence, frequency, vocab_size))
    return found
