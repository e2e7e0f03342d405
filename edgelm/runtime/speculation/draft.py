"""What drafters have in common: a guess at the next tokens, with a grade by which its kind is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Grade(NamedTuple):
    """Guesses of one grade are about equally good: `strength` is, for prompt lookup, the length of the match."""

    drafter: str
    strength: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A guess: never wrong to use, only slow."""

    tokens: tuple[int, ...]
    grade: Grade
