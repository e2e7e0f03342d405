"""The contract of a judge: pairs of answers in, one verdict each out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Preference = Literal["first", "second", "tie", "both_bad"]
"""What may be said of two answers, by the place they stand in."""

_SWAPPED: Mapping[Preference, Preference] = {"first": "second", "second": "first"}


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """Two answers to one prompt.

    Attributes:
        messages: what was asked.
        first: one answer.
        second: the other.
        columns: the other fields of the prompt's row, which rewards may read.
    """

    messages: Sequence[Mapping[str, Any]]
    first: str
    second: str
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def swapped(self) -> AnswerPair:
        """The same answers the other way round."""
        return AnswerPair(self.messages, self.second, self.first, self.columns)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of a pair.

    Attributes:
        preference: the verdict; None where it could not be read, which is no verdict.
        orders: what was said in each order that was asked, as if the answers had stood as they do in the pair.
    """

    preference: Preference | None
    orders: tuple[Preference | None, ...] = ()

    @property
    def flipped(self) -> bool:
        """Whether the other order gave another verdict."""
        return None not in self.orders and len(set(self.orders)) > 1


def swapped(preference: Preference | None) -> Preference | None:
    """Tell a verdict as if the answers had stood the other way round."""
    return None if preference is None else _SWAPPED.get(preference, preference)


def agreed(orders: Sequence[Preference | None]) -> Verdict:
    """Make one verdict of what was said in each order: a win only where all say so, a tie where they differ."""
    said = set(orders)
    if None in said:
        return Verdict(None, tuple(orders))
    return Verdict(orders[0] if len(said) == 1 else "tie", tuple(orders))


class Judge(Protocol):
    """Compares answers. A new one is a module in this package and a line in `registry.py`."""

    name: str
    """What it is called, as people write it; the voter that it is in an arena."""

    def compare(self, pairs: Sequence[AnswerPair]) -> list[Verdict]:
        """Return a verdict for each pair, the same for the same pairs.

        Raises:
            EdgeLMError: it cannot judge them.
        """
        ...

    def close(self) -> None:
        """Give memory and processes back; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeRecord:
    """How a judge did.

    Attributes:
        pairs: compared.
        unreadable: how many have no verdict.
        two_orders: how many were read in two orders.
        flips: how many of those had another verdict in the other order.
    """

    pairs: int
    unreadable: int
    two_orders: int
    flips: int

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> JudgeRecord:
        """Count what verdicts came to."""
        both = [each for each in verdicts if len(each.orders) > 1 and None not in each.orders]
        return cls(
            len(verdicts),
            sum(each.preference is None for each in verdicts),
            len(both),
            sum(each.flipped for each in both),
        )

    @property
    def flip_rate(self) -> float | None:
        """The share of verdicts that the order of the answers changed; None where none was read in both."""
        return self.flips / self.two_orders if self.two_orders else None
