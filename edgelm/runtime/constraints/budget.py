"""A bound on thinking: after so many tokens the mark that ends it is all that may come, and no thinking is begun again.

What is thinking is told by the same reader that tells it in the reply, so what is counted is what usage reports. Holds a reply
that is free otherwise, or one whose answer another constraint holds. As vLLM's `thinking_token_budget` does it, without words
of its own. Runs on the engine thread.

Shapes: V the network's vocabulary, n draft tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.runtime.constraints.constraint import Constraint, MakeConstraint
from edgelm.text.families import harmony
from edgelm.text.families.family import family_of
from edgelm.text.segments import Segmenter


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """How a family's thinking is ended, and kept from beginning again, in token ids."""

    closes: tuple[int, ...]
    """What ends it."""
    begins: tuple[int, ...]
    """What begins it elsewhere, as far as nothing else does."""


def thinking_marks(tokenizer: Any) -> ThinkingMarks | None:
    """Return the marks of a tokenizer's family; None of one whose thinking is not told apart."""
    family = family_of(tokenizer)

    def spelt(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    if family.is_harmony:
        # The message after it has its channel chosen by the model, any but that of thinking: an answer, or a call.
        return ThinkingMarks(
            spelt(f"{harmony.END}{harmony.START}assistant{harmony.CHANNEL}"),
            (*spelt(harmony.CHANNEL), *spelt("analysis")[:1]),
        )
    if family.thinking is None:
        return None
    begins, closes = family.thinking
    return ThinkingMarks(spelt(closes), spelt(begins))


def bounded(
    make: MakeConstraint | None, tokenizer: Any, prompt: Sequence[int], most_tokens: int
) -> MakeConstraint | None:
    """Return what makes a constraint that bounds the thinking of a reply to `prompt` as well.

    Args:
        make: makes what holds the reply otherwise; None where it is free.
        tokenizer: mlx-lm's TokenizerWrapper.
        most_tokens: the tokens that thinking may take, its marks included.
    """
    marks = thinking_marks(tokenizer)
    if marks is None:
        return make

    def made(columns: int) -> Constraint:
        reader = Segmenter(tokenizer, prompt, plain_answer=make is not None)
        return BoundedThinking(make(columns) if make else None, columns, reader, marks, most_tokens)

    return made


class BoundedThinking:
    """Ends thinking after so many tokens. A `Constraint`.

    Args:
        inner: what holds the reply otherwise; None where it is free.
        columns: V.
        reader: tells whether a reply to this prompt is thinking; fresh.
        marks: those of its family.
        most_tokens: the bound.
    """

    def __init__(
        self,
        inner: Constraint | None,
        columns: int,
        reader: Segmenter,
        marks: ThinkingMarks,
        most_tokens: int,
    ) -> None:
        self._inner, self._columns, self._reader, self._marks = inner, columns, reader, marks
        self._left = most_tokens
        self._closing: tuple[int, ...] = ()
        self._tail: tuple[int, ...] = ()
        self._begin_closing()

    def allowed(self, drafts: Sequence[int] = ()) -> mx.array:
        """bool [1 + n, V]: row i says what may follow the first i of `drafts`; none of these where the bound is near."""
        if self._left > len(drafts):
            if self._inner is not None:
                return self._inner.allowed(drafts)
            return mx.ones((1 + len(drafts), self._columns), dtype=mx.bool_)
        row = self._inner.allowed() if self._inner is not None else None
        own = self._row()
        if own is None:
            return mx.ones((1, self._columns), dtype=mx.bool_) if row is None else row[:1]
        return own if row is None else mx.logical_and(row[:1], own)

    def accept(self, token: int) -> None:
        """Take note of a token that was sampled."""
        if self._inner is not None:
            self._inner.accept(token)
        was_thinking = self._reader.is_thinking
        self._reader.add(token)
        self._left -= was_thinking or self._reader.is_thinking
        self._tail = (*self._tail, token)[-len(self._marks.begins) :]
        if self._closing[:1] == (token,):
            self._closing = self._closing[1:]
        else:
            self._begin_closing()

    def forced(self, limit: int) -> list[int]:
        """Return the tokens that can only come next, at most `limit`."""
        if self._closing:
            return list(self._closing[:limit])
        return self._inner.forced(limit) if self._inner is not None else []

    @property
    def is_over(self) -> bool:
        """Nothing more may come but a stop token."""
        return self._inner is not None and self._inner.is_over

    def _begin_closing(self) -> None:
        """Have the mark written, if thinking goes on and may not."""
        is_due = self._left <= 0 and self._reader.is_thinking
        self._closing = self._marks.closes if is_due else ()

    def _row(self) -> mx.array | None:
        """bool [1, V]: what may come beside what the other constraint says; None for anything."""
        from numpy import ones, zeros

        if self._left > 0:
            return None
        if self._closing:
            row = zeros((1, self._columns), dtype=bool)
            row[0, self._closing[0]] = True
            return mx.array(row)
        *before, last = self._marks.begins
        if before and self._tail[-len(before) :] != tuple(before):
            return None
        row = ones((1, self._columns), dtype=bool)
        row[0, last] = False
        return mx.array(row)
