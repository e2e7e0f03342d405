"""What the store keeps of an arena, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from edgelm.arena.contestants import Contestant

Choice = Literal["first", "second", "tie", "both_bad", "skip"]
CHOICES: tuple[Choice, ...] = ("first", "second", "tie", "both_bad", "skip")
"""What may be said of a match: which answer is better, by its place, or neither; a skip says nothing."""
TAKEN_BACK = "taken_back"
PERSON = "person"
"""The voter that people are."""


@dataclass(frozen=True, slots=True)
class RoundHead:
    """One arena: contestants, prompts, and what follows of a seed."""

    id: str
    name: str
    seed: int
    max_tokens: int
    created: float


@dataclass(frozen=True, slots=True)
class ArenaPrompt:
    """A prompt of an arena."""

    id: str
    digest: str
    messages: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """One contestant's answer to one prompt."""

    id: str
    contestant: str
    """Its name."""
    prompt: str
    """The id of the prompt."""
    answer: str
    """The key of the answer."""


@dataclass(frozen=True, slots=True)
class MatchRecord:
    """Two slots beside each other. Knows which is which: not for the eyes of a voter."""

    id: str
    first: Slot
    second: Slot
    repeats: str | None
    """The match that is shown here again with sides changed."""
    place: float
    identical: bool
    names_itself: bool


@dataclass(frozen=True, slots=True)
class Cast:
    """A vote that stands."""

    id: int
    match: str
    voter: str
    outcome: Choice
    at: float
    """Seconds since 1970."""
    took_s: float


@dataclass(frozen=True, slots=True)
class BlindMatch:
    """What a voter sees of a match: nothing in it says who wrote what.

    Attributes:
        id: drawn at random.
        messages: what was asked, without any contestant's own system prompt.
        first: the answer on the left, or above.
        second: the other.
        names_itself: whether one of them says who wrote it.
    """

    id: str
    messages: tuple[dict[str, Any], ...] = field(repr=False)
    first: str = field(repr=False)
    second: str = field(repr=False)
    names_itself: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """A contestant as it is kept, whatever became of its model."""

    id: str
    contestant: Contestant
