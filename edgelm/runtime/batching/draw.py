"""The next tokens of all sequences, under way: lazily, so that the step after can be built upon them.

Shapes: B sequences, V vocab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.runtime.batching.reply import Reply
from edgelm.runtime.events import Token
from edgelm.runtime.steps import Step


@dataclass(frozen=True, slots=True)
class Draw:
    """One token for each sequence."""

    ids: mx.array
    """[B]."""
    steps: tuple[Step, ...] = ()
    """One for each sequence; none where all take the likeliest token and report nothing more."""

    @classmethod
    def build(cls, logits: mx.array, replies: Sequence[Reply]) -> Draw:
        """Choose from logits `[B, V]`, each row by its reply's own sampler and constraint."""
        if all(reply.is_plain for reply in replies):
            return cls(mx.argmax(logits, axis=-1))
        steps = tuple(reply.choose(logits[row : row + 1]) for row, reply in enumerate(replies))
        return cls(mx.concatenate([step.ids for step in steps]), steps)

    def start(self) -> None:
        """Begin to compute; returns at once."""
        mx.async_eval(self.ids)  # type: ignore[no-untyped-call]
        for step in self.steps:
            step.start()

    def read(self) -> list[Token]:
        """Wait for them."""
        if self.steps:
            return [token for step in self.steps for token in step.read()]
        ids: Any = self.ids.tolist()
        return [Token(token) for token in ids]

    def keep(self, rows: Sequence[int]) -> Draw:
        """Without the sequences that have left."""
        return Draw(
            self.ids[mx.array(list(rows))], tuple(self.steps[row] for row in rows) if self.steps else ()
        )
