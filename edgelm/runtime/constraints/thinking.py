"""A constraint that begins after the thinking block: the answer is held to a grammar, the thinking is free.

Inside the block everything may come but a stop token, so that a reply never ends without its answer.
Masks are put together in NumPy, not on the device: not every GPU can scatter booleans, and what is read back from a mask
must not wait for the forward pass under way. Knows the markers as token ids, nothing of text.

Shapes: V the network's vocabulary, n draft tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import mlx.core as mx

from edgelm.runtime.constraints.matcher import Matching
from edgelm.runtime.constraints.vocabulary import Vocabulary

if TYPE_CHECKING:
    from edgelm.runtime.constraints.matcher import Mask

Phase = Literal["start", "opening", "thinking", "leading", "gap", "ready", "answer"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the reply: `start` until its first token, `gap` until the answer's first after the block.

    `ready` is where the answer's first must come next.
    """

    phase: Phase
    tail: tuple[int, ...] = ()
    """The last tokens of a marker that may be coming."""


class AfterThinking:
    """Leaves a thinking block free and holds what follows it to a grammar. A `Constraint`.

    Args:
        answer: the answer's constraint, fresh.
        vocabulary: the tokenizer's tokens.
        columns: V.
        opens: ids of the marker that may open a block at the reply's start; empty if none may.
        closes: ids of the marker that ends the block.
        skips: ids that begin the answer where no block is opened; empty where it begins by itself.
        leads: ids that stand between the block and the answer; empty for nothing but newlines.
        inside: whether the prompt has opened the block already.
    """

    def __init__(
        self,
        answer: Matching,
        vocabulary: Vocabulary,
        columns: int,
        *,
        opens: Sequence[int],
        closes: Sequence[int],
        skips: Sequence[int] = (),
        leads: Sequence[int] = (),
        inside: bool,
    ) -> None:
        self._answer = answer
        self._vocabulary = vocabulary
        self._columns = columns
        self._opens = tuple(opens)
        self._closes = tuple(closes)
        self._skips = tuple(skips)
        self._leads = tuple(leads)
        self._newlines = vocabulary.newlines
        self._place = _Place("thinking" if inside else "start")

    def allowed(self, drafts: Sequence[int] = ()) -> mx.array:
        """bool [1 + n, V]: row i says what may follow the first i of `drafts`."""
        from numpy import concatenate

        place = self._place
        rows: list[Mask] = []
        for done in range(len(drafts) + 1):
            if place.phase == "answer":
                rows.append(self._answer.mask(drafts[done:]))
                break
            rows.append(self._row(place))
            if done == len(drafts) or not self._admits(rows[-1], drafts[done]):
                break
            following = self._next(place, drafts[done])
            if following.phase == "answer":  # the answer's own first token, which only `_answer` can judge
                rows.append(self._answer.mask(drafts[done:])[1:])
                break
            place = following
        return mx.array(concatenate(rows))

    def accept(self, token: int) -> None:
        """Take note of a token that was sampled."""
        self._place = self._next(self._place, token)
        if self._place.phase == "answer":
            self._answer.accept(token)

    def forced(self, limit: int) -> list[int]:
        """Return the tokens that can only come next, at most `limit`."""
        if self._place.phase == "answer":
            return self._answer.forced(limit)
        found: list[int] = []
        place = self._place
        while len(found) < limit and len(following := self._written(place)) == 1:
            found += following
            place = self._next(place, found[-1])
        return found

    @property
    def is_over(self) -> bool:
        """Nothing more may come but a stop token."""
        return self._place.phase == "answer" and self._answer.is_over

    def _row(self, place: _Place) -> Mask:
        """bool [1, V] outside the answer."""
        if place.phase == "thinking":
            row = ~self._these(self._vocabulary.stop_tokens)
            row[:, self._vocabulary.size :] = False
            return row
        if place.phase == "start" and not self._skips:
            return self._answer.mask() | self._these(set(self._opens[:1]))
        if place.phase in ("start", "opening", "leading"):
            return self._these(self._written(place))
        if place.phase == "ready":
            return self._answer.mask()
        return self._answer.mask() if place.tail else self._answer.mask() | self._these(self._newlines)

    def _written(self, place: _Place) -> set[int]:
        """What may come next where the form alone decides; empty elsewhere, and where the answer may begin too."""
        if place.phase == "start" and not self._skips:
            return set()
        ways = {
            "start": (self._opens, self._skips),
            "opening": (self._opens, self._skips),
            "leading": (self._leads,),
        }
        size = len(place.tail)
        return {
            way[size] for way in ways.get(place.phase, ()) if way[:size] == place.tail and len(way) > size
        }

    def _these(self, tokens: set[int] | frozenset[int]) -> Mask:
        from numpy import zeros

        row = zeros((1, self._columns), dtype=bool)
        row[:, [token for token in tokens if token < self._columns]] = True
        return row

    def _admits(self, row: Mask, token: int) -> bool:
        return 0 <= token < self._columns and bool(row[0, token])

    def _next(self, place: _Place, token: int) -> _Place:
        match place.phase:
            case "start" if token in (self._opens[:1] + self._skips[:1]):
                return self._opened((token,))
            case "opening":
                return self._opened((*place.tail, token))
            case "thinking":
                tail = (*place.tail, token)[-len(self._closes) :]
                return self._closed() if tail == self._closes else replace(place, tail=tail)
            case "leading":
                tail = (*place.tail, token)
                return _Place("ready") if tail == self._leads else _Place("leading", tail)
            case "gap" if token in self._newlines and not place.tail:
                return _Place("gap", (token,))
            case _:
                return _Place("answer")

    def _opened(self, tail: tuple[int, ...]) -> _Place:
        if tail == self._skips:
            return _Place("ready")
        return _Place("thinking") if tail == self._opens else _Place("opening", tail)

    def _closed(self) -> _Place:
        return _Place("leading") if self._leads else _Place("gap")
