"""The caches of the sequence under way, and the tokens that are in them.

The next request goes on from them where it can, without copying; what it parts from is put into the pool first, so
that an earlier branch is still known when it is asked for again. Whoever runs the network reports each token that it
feeds (`fed`), or resets. Knows which tokens are in the caches, nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.runtime.cache.node import Snapshot
from edgelm.runtime.cache.pool import Pool, common_prefix, snapshot_of
from edgelm.zoo.caches.leaves import can_drop, can_trim, drop, freeze, leaves_of, thaw

_KEPT = 4  # snapshots of the sequence under way
WORTH_KEEPING = 32
"""Tokens; fewer are computed again as fast as they are copied."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place to go back to."""

    position: int
    states: Snapshot
    """The states of the leaves from which tokens cannot be dropped."""


class LiveCache:
    """The caches of one sequence.

    Args:
        pool: makes the caches, and keeps what is parted from.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.reset()

    def reset(self) -> None:
        """Forget the sequence; the pool keeps what it has."""
        self.layers: list[Any] = []
        self.tokens: list[int] = []
        self._variant = ""
        self._snapshots: dict[int, Snapshot] = {}

    def park(self) -> None:
        """Put the sequence into the pool and forget it here, so that others can begin from it."""
        if len(self.tokens) >= WORTH_KEEPING:
            self._pool.store(self._variant, self.tokens, self.layers, self._snapshots)
        self.reset()

    def adopt(self, variant: str, tokens: Sequence[int], layers: list[Any]) -> None:
        """Go on with caches that hold `tokens`, in place of the sequence that was here."""
        self.park()
        self.layers, self.tokens, self._variant = layers, list(tokens), variant

    def begin(self, prompt: Sequence[int], variant: str = "") -> int:
        """Hold as much of the prompt as is known; how many tokens that is.

        At least the last prompt token is left to compute, since its logits are needed.

        Args:
            variant: what else determines the caches: the adapters that are on.
        """
        wanted = prompt[:-1]
        shared = common_prefix(self.tokens, wanted) if variant == self._variant else 0
        here = self._reachable(shared)
        if len(self.tokens) - here >= WORTH_KEEPING:
            self._pool.store(self._variant, self.tokens, self.layers, self._snapshots)
        if here and self._pool.match(variant, wanted).length < here + WORTH_KEEPING:
            self._rewind(here)
        else:
            self.reset()
            self._variant = variant
            self.layers, known = self._pool.load(variant, wanted)
            self.tokens = list(wanted[:known])
        return len(self.tokens)

    def fed(self, tokens: Iterable[int]) -> None:
        """Note that these tokens have gone through the network."""
        self.tokens.extend(tokens)

    @property
    def needs_snapshots(self) -> bool:
        """Whether some leaf cannot always be cut back."""
        return not self._pool.cuts_anywhere

    def snapshot(self) -> None:
        """Keep the state as it is after the tokens fed so far: a later prompt may part from this one here."""
        if self.needs_snapshots and self.tokens and len(self.tokens) not in self._snapshots:
            self._snapshots[len(self.tokens)] = snapshot_of(list(leaves_of(self.layers)))
            while len(self._snapshots) > _KEPT:
                del self._snapshots[min(self._snapshots)]

    def mark(self) -> Mark:
        """Return where `take_back` can go back to, after one more call of the network."""
        states = (None if can_drop(leaf) else freeze(leaf) for leaf in leaves_of(self.layers))
        return Mark(len(self.tokens), tuple(states))

    def take_back(self, mark: Mark, keep: int) -> list[int]:
        """Undo a call that fed several tokens, but for the first `keep` of them.

        Returns:
            Tokens to feed again: none, unless a leaf can only go back to `mark` as a whole.
        """
        fed = self.tokens[mark.position :]
        again = [] if all(state is None for state in mark.states) else fed[:keep]
        surplus = len(fed) - keep + len(again)
        for leaf, state in zip(leaves_of(self.layers), mark.states, strict=True):
            if state is not None:
                thaw(leaf, state)
            elif surplus:
                drop(leaf, surplus)
        self._keep(len(self.tokens) - surplus)
        return again

    def persist(self) -> None:
        """Write the sequence to the disk, if the pool has one.

        Raises:
            OutputError: the disk refuses.
        """
        if self.tokens:
            self._pool.persist(self._variant, self.tokens, self.layers, self._snapshots)

    def _reachable(self, length: int) -> int:
        """How many tokens can stay of the first `length`."""
        surplus = len(self.tokens) - length
        if all(can_trim(leaf, surplus) for leaf in leaves_of(self.layers)):
            return length
        return max((place for place in self._snapshots if place <= length), default=0)

    def _rewind(self, length: int) -> None:
        """Go back to a reachable length."""
        surplus = len(self.tokens) - length
        leaves = list(leaves_of(self.layers))
        if all(can_trim(leaf, surplus) for leaf in leaves):
            states: Snapshot = (None,) * len(leaves)
        else:
            states = self._snapshots[length]
        for leaf, state in zip(leaves, states, strict=True):
            if state is not None:
                thaw(leaf, state)
            elif surplus:
                leaf.trim(surplus)
        self._keep(length)

    def _keep(self, length: int) -> None:
        del self.tokens[length:]
        self._snapshots = {place: kept for place, kept in self._snapshots.items() if place <= length}
