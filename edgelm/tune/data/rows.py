"""One row of training data as token ids, with the tokens that are trained and the line it came from.

Three kinds: an `Example` is imitated, a `Pair` says which of two answers is better, a `Judged` says whether
one answer was good. Knows nothing about files, templates or batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["sft", "preference", "kto", "rollout"]


@dataclass(frozen=True, slots=True, order=True)
class RowOrigin:
    """Where a row was written."""

    file: str
    """As the user named it: a path, or a Hub id."""
    line: int
    """The line in a JSONL, JSON or CSV file, counted from 1; the row's number, from 1, in any other."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Example:
    """A sequence to imitate where `trained`."""

    tokens: tuple[int, ...]
    trained: tuple[bool, ...]
    """As long as `tokens`; True where the token is a target. The first never is: nothing predicts it."""
    origin: RowOrigin

    @property
    def size(self) -> int:
        """Tokens that the network reads: all but the last, which is only ever a target."""
        return max(0, len(self.tokens) - 1)

    @property
    def target_count(self) -> int:
        """Tokens that are trained."""
        return sum(self.trained)

    @property
    def prompt_size(self) -> int:
        """Tokens before the first trained one."""
        return self.trained.index(True) if True in self.trained else len(self.tokens)

    @property
    def sequences(self) -> tuple[Example, ...]:
        """What goes through the network: this."""
        return (self,)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt. Both sequences begin with the same prompt; only the answers are `trained`,
    or what follows their last token where they are scored.
    """

    chosen: Example
    rejected: Example
    origin: RowOrigin
    margin: float = 0.0
    """By how much the chosen answer is to score above the rejected one, for reward models."""

    @property
    def size(self) -> int:
        """The size of the longer one, since both go through the network side by side."""
        return max(self.chosen.size, self.rejected.size)

    @property
    def packed_size(self) -> int:
        """The size of both behind each other, as they lie in a pack."""
        return self.chosen.size + self.rejected.size

    @property
    def shared_size(self) -> int:
        """Positions that both answers have before them, but for the last, whose target is of the answer."""
        size = min(self.chosen.prompt_size, self.rejected.prompt_size)
        chosen, rejected = self.chosen.tokens[:size], self.rejected.tokens[:size]
        if chosen == rejected:
            return max(0, size - 1)
        # Of answers that are scored the prompt is all that comes before their last token.
        return next(at for at, (one, other) in enumerate(zip(chosen, rejected, strict=True)) if one != other)

    @property
    def target_count(self) -> int:
        """Tokens of both answers."""
        return self.chosen.target_count + self.rejected.target_count

    @property
    def sequences(self) -> tuple[Example, ...]:
        """Chosen, then rejected."""
        return (self.chosen, self.rejected)


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer and whether it was good."""

    example: Example
    is_desirable: bool
    origin: RowOrigin

    @property
    def size(self) -> int:
        """The size of its sequence."""
        return self.example.size

    @property
    def target_count(self) -> int:
        """Tokens of the answer."""
        return self.example.target_count

    @property
    def sequences(self) -> tuple[Example, ...]:
        """The one sequence it consists of."""
        return (self.example,)


Row = Example | Pair | Judged
