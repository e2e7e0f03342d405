"""What changes the logits before a token is drawn: bias and penalties, of one reply or of several with equal settings.

Each keeps its own history on the device, as lazy arrays, so that a step can be built before the token of the
one before it has been read. Histories are replaced, never written to: a shallow copy can run ahead. Knows nothing
about sampling.

Shapes: B replies, V vocab, W window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx


@dataclass(frozen=True, slots=True)
class Said:
    """A reply so far."""

    prompt: Sequence[int]
    reply: Sequence[int] = ()


class Processor(Protocol):
    """One change to the logits."""

    def apply(self, logits: mx.array) -> mx.array:
        """Return `[B, V]` → `[B, V]`."""

    def observe(self, tokens: mx.array) -> None:
        """Take note of the tokens `[B]` that were drawn."""

    def seat(self, kept: Sequence[int], joining: Sequence[Said]) -> None:
        """Keep only these of the replies, in this order, and put others behind them."""


class Bias:
    """Adds fixed numbers to the logits of some tokens."""

    def __init__(self, bias: Mapping[int, float]) -> None:
        self._tokens = mx.array(list(bias))
        self._values = mx.array(list(bias.values()), dtype=mx.float32)

    def apply(self, logits: mx.array) -> mx.array:
        """Return `[B, V]` → `[B, V]` float32."""
        return logits.astype(mx.float32).at[:, self._tokens].add(self._values)

    def observe(self, tokens: mx.array) -> None:
        """Do nothing: the bias does not depend on what was drawn."""

    def seat(self, kept: Sequence[int], joining: Sequence[Said]) -> None:
        """Nor on the replies."""


class RepetitionPenalty:
    """Divides the positive logits of the last W tokens, prompt included, and multiplies the negative ones.

    CTRL (arXiv:1909.05858), sign-aware as in Hugging Face transformers; a token counts once. So a history that is
    shorter than others is filled up in front with its own first token.

    Args:
        prompt: of the one reply that is seated at first; none is where it is empty.
    """

    def __init__(self, penalty: float, window: int, prompt: Sequence[int] = ()) -> None:
        self._penalty = penalty
        self._window = window
        self._recent = mx.zeros((0, 1), dtype=mx.int32)  # [B, ≤W]
        if prompt:
            self.seat([], [Said(prompt)])

    def apply(self, logits: mx.array) -> mx.array:
        """Return `[B, V]` → `[B, V]` float32."""
        logits = logits.astype(mx.float32)
        found = mx.take_along_axis(logits, self._recent, axis=-1)
        scaled = mx.where(found < 0, found * self._penalty, found / self._penalty)
        return mx.put_along_axis(logits, self._recent, scaled, axis=-1)

    def observe(self, tokens: mx.array) -> None:
        """Slide the window on."""
        recent = mx.concatenate([self._recent, tokens.astype(mx.int32)[:, None]], axis=1)
        self._recent = recent[:, -self._window :]

    def seat(self, kept: Sequence[int], joining: Sequence[Said]) -> None:
        """Gather the windows of those that stay."""
        rows = [[*said.prompt, *said.reply][-self._window :] for said in joining]
        width = max([*map(len, rows), self._recent.shape[1] if kept else 1])
        parts = []
        if kept:
            staying = self._recent[mx.array(list(kept))]
            filled = mx.repeat(staying[:, :1], width - staying.shape[1], axis=1)
            parts.append(mx.concatenate([filled, staying], axis=1))
        if rows:
            parts.append(mx.array([[row[0]] * (width - len(row)) + row for row in rows], dtype=mx.int32))
        self._recent = mx.concatenate(parts)


class CountPenalty:
    """Lowers the logits of tokens that were generated, once and for each time.

    OpenAI's presence and frequency penalties: the prompt does not count, the whole completion does.
    """

    def __init__(self, presence: float, frequency: float, vocab_size: int) -> None:
        self._presence = presence
        self._frequency = frequency
        self._counts = mx.zeros((1, vocab_size), dtype=mx.float32)  # [B, V]; at first of one reply

    def apply(self, logits: mx.array) -> mx.array:
        """Return `[B, V]` → `[B, V]` float32."""
        seen = (self._counts > 0).astype(mx.float32)
        return logits.astype(mx.float32) - self._presence * seen - self._frequency * self._counts

    def observe(self, tokens: mx.array) -> None:
        """Count the tokens that were drawn."""
        self._counts = self._counts.at[mx.arange(tokens.shape[0]), tokens].add(1.0)

    def seat(self, kept: Sequence[int], joining: Sequence[Said]) -> None:
        """Gather the counts of those that stay; of those that come again, count what they have said."""
        vocab_size = self._counts.shape[1]
        parts = [self._counts[mx.array(list(kept))]] if kept else []
        if joining:
            counts = mx.zeros((len(joining), vocab_size), dtype=mx.float32)
            pairs = [(row, token) for row, said in enumerate(joining) for token in said.reply]
            if pairs:
                rows, tokens = mx.array(pairs).T
                counts = counts.at[rows, tokens].add(1.0)
            parts.append(counts)
        self._counts = mx.concatenate(parts)


def make_processors(
    vocab_size: int,
    *,
    bias: Mapping[int, float],
    repetition: float,
    window: int,
    presence: float,
    frequency: float,
) -> list[Processor]:
    """Return those that these settings switch on, in the order in which they apply; `seat` replies before the first use."""
    found: list[Processor] = []
    if bias:
        found.append(Bias(bias))
    if repetition != 1:
        found.append(RepetitionPenalty(repetition, window))
    if presence or frequency:
        found.append(CountPenalty(presence, frequency, vocab_size))
    return found
