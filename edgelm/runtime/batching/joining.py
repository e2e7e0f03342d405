"""A group on its way into the rows: what its prompts begin with, then what is left of each, a chunk at a time.

The chunks stand between the steps of those who run, so that no stream waits for more than one of them. Who is cancelled is
told at the next chunk, and left out in the end. Runs on the engine thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.runtime.batching.batch_cache import BatchCache, Work
from edgelm.runtime.batching.shared_prefixes import SharedPrefixes
from edgelm.runtime.cache.pool import common_prefix
from edgelm.runtime.prefill import Underway
from edgelm.runtime.runner import Layers
from edgelm.runtime.sequence import ActiveRequest


class Joining:
    """The prompts of a group under way; its first chunk is built at once.

    Args:
        group: who joins together.
        waiting: others, who may begin as the first of the group does.
        prefixes: what prompts begin with.
        cache: where they join.
    """

    def __init__(
        self,
        group: Sequence[ActiveRequest],
        waiting: Sequence[ActiveRequest],
        prefixes: SharedPrefixes,
        cache: BatchCache,
    ) -> None:
        self.group = list(group)
        self.stem: list[int] = []
        """What was computed for the pool, of several prompts."""
        self.layers: Layers | None = None
        """The caches of the group side by side, once all is computed."""
        self._prefixes, self._cache = prefixes, cache
        self._work = self._chunks([*group[1:], *waiting])
        self._underway: Underway | None = None
        self._done: Sequence[int] = ()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody of the group still waits."""
        return not all(active.is_over for active in self.group)

    @property
    def rows(self) -> list[int]:
        """Those of the group who still wait, by their place in it."""
        return [row for row, active in enumerate(self.group) if not active.is_over]

    def build(self) -> None:
        """Build the next chunk; `layers` are there if none is left."""
        try:
            self._underway, self._done = next(self._work)
        except StopIteration as end:
            self._underway, self.layers = None, end.value

    def start(self) -> None:
        """Start what is built; returns at once."""
        if self._underway is not None:
            self._underway.start(self._is_cancelled)

    def wait(self) -> None:
        """Wait for what was started, tell how far the prompts are, and build the next."""
        if self._underway is not None and self._underway.wait(self._is_cancelled):
            for active, tokens in zip(self.group, self._done, strict=False):
                if not active.is_over:
                    active.prefilled(tokens)
        self.end_cancelled()
        if self.is_wanted:
            self.build()

    def end_cancelled(self) -> None:
        """Tell those who are cancelled that it is over."""
        for active in self.group:
            if not active.is_over and active.cancel.is_set():
                active.finish()

    def _is_cancelled(self) -> bool:
        return all(active.is_over or active.cancel.is_set() for active in self.group)

    def _chunks(self, others: Sequence[ActiveRequest]) -> Work:
        first = self.group[0]
        stem = self._prefixes.stem(first, others)
        for active in self.group:
            active.begin(self._prefixes.known(active.variant.key, active.keys))
        if stem:
            for underway, done in self._prefixes.learn(first, stem):
                yield underway, [self._of(stem, active, *done) for active in self.group]
            self.stem = stem
        starts, known_tokens = self._prefixes.starts(self.group)
        for active, known in zip(self.group, known_tokens, strict=True):
            active.shares(known)
        rests = [active.ids[known:-1] for active, known in zip(self.group, known_tokens, strict=True)]
        work = self._cache.computed(rests, starts, [active.variant for active in self.group])
        while True:
            try:
                underway, done = next(work)
            except StopIteration as end:
                layers: Layers = end.value
                return layers
            yield underway, [known + more for known, more in zip(known_tokens, done, strict=True)]

    def _of(self, stem: Sequence[int], active: ActiveRequest, done: int) -> int:
        """How much of a prompt is known with the first `done` tokens of the stem."""
        known = self._prefixes.known(active.variant.key, active.keys)
        if active.variant.key != self.group[0].variant.key:
            return known
        return max(known, common_prefix(stem[:done], active.keys[:-1]))
