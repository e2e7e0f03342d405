"""Whether a judge agrees with themselves: matches that were shown again with sides changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.arena.ratings.votes import Outcome


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two judgements of the same matches agree.

    Attributes:
        pairs: how many matches were judged twice.
        same: how many of them alike.
        kappa: Cohen's kappa, agreement beyond that of chance: (p_o - p_e) / (1 - p_e); None where chance alone explains all.
        reversed: how many went from one side to the other, the harder contradiction than a tie.
    """

    pairs: int
    same: int
    kappa: float | None
    reversed: int

    @property
    def share(self) -> float | None:
        """The share that was judged alike; None where nothing was judged twice."""
        return self.same / self.pairs if self.pairs else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "pairs": self.pairs,
            "same": self.same,
            "share": self.share,
            "kappa": self.kappa,
            "reversed": self.reversed,
        }


def agreement(judgements: Sequence[tuple[Outcome, Outcome]]) -> Agreement:
    """Compare pairs of judgements, both told as if the answers had stood the same way round."""
    pairs = len(judgements)
    same = sum(one is other for one, other in judgements)
    opposite = sum({one, other} == {Outcome.FIRST, Outcome.SECOND} for one, other in judgements)
    if not pairs:
        return Agreement(0, 0, None, 0)
    ones, others = Counter(one for one, _ in judgements), Counter(other for _, other in judgements)
    chance = sum(ones[each] * others[each] for each in Outcome) / pairs**2
    kappa = None if chance == 1 else (same / pairs - chance) / (1 - chance)
    return Agreement(pairs, same, kappa, opposite)
