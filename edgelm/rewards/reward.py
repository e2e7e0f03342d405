"""The contract of a reward: answers in, one number each out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer, and what is known of the row that asked for it."""

    prompt: str | Messages
    """Plain text, or the messages before the answer."""
    text: str
    """The answer, without thinking."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The other fields of the row: the right answer, tests, whatever a function of one's own reads."""


class Reward(Protocol):
    """Gives every answer a number. Subclass it; a new one is a module in this package and a line in `registry.py`."""

    name: str
    """What it is called in logs and charts."""
    columns: Sequence[str] = ()
    """Fields that every row must have."""

    def score(self, answers: Sequence[JudgedAnswer]) -> list[float | None]:
        """Return a number for each answer; None says nothing of it.

        Raises:
            RewardError: it cannot judge them.
        """
        ...

    def check_row(self, columns: Mapping[str, Any], where: str) -> None:
        """Refuse a row, which `where` names, whose fields are there and yet cannot be used; most rewards use any.

        Raises:
            FormatError: as it says.
        """
        return

    def close(self) -> None:
        """Let go of processes; most have none."""
        return
