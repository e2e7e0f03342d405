"""Continuous batching: requests join as others end, and share every step of the network.

Each step feeds one token of every running request; the next step is built and started before the tokens of the one before it
are read. What prompts begin with is taken from the prefix pool, and what was computed of a request that ends goes there. When
the caches would outgrow the budget the last to join leaves, and joins again later with what it has said. What fails in one
request ends that request; when MLX fails, what ran goes on in a batch half as wide, down to one, so that only what fails alone
is given up. Runs on the engine thread.

Shapes: B requests, V vocab.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence

import mlx.core as mx

from edgelm.errors import EdgeLMError, EngineError
from edgelm.machine.gpu.watchdog import watchdog_error
from edgelm.pricing.batch_budget import Budget
from edgelm.pricing.chunks import Chunks
from edgelm.runtime.batching.batch_cache import CHUNKS, BatchCache
from edgelm.runtime.batching.draw import Draw, Drawer
from edgelm.runtime.batching.mates import mates
from edgelm.runtime.batching.shared_prefixes import SharedPrefixes
from edgelm.runtime.cache.live import WORTH_KEEPING
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.events import Token
from edgelm.runtime.runner import Layers, ModelRunner
from edgelm.runtime.sequence import ActiveRequest

_HEADROOM_TOKENS = 256
"""A request joins only if it may grow by so much, or to its end, before one has to leave."""
_FAILURES = (RuntimeError, ValueError, MemoryError, EdgeLMError)  # of MLX and of what it is asked for
_CLEAR_EVERY = 256  # steps; MLX's buffer cache grows with the reallocations of the caches


class Rows:
    """The requests that share steps.

    Args:
        runner: calls a network that computes several sequences as it computes each alone.
        pool: what was computed of any prompt.
        budget: what they may take, asked whenever the first of them join.
        pads: whether prompts may be computed together, see `exactness`.
        chunks: prompt tokens computed at once, over all of them.
    """

    def __init__(
        self,
        runner: ModelRunner,
        pool: Pool,
        budget: Callable[[], Budget],
        *,
        pads: bool,
        chunks: Chunks = CHUNKS,
    ) -> None:
        self.active: list[ActiveRequest] = []
        self._cache = BatchCache(runner, pads=pads, chunks=chunks)
        self._pool = pool
        self._prefixes = SharedPrefixes(runner, pool, chunks)
        self._ask_budget = budget
        self._budget = budget()
        self._most_rows = self._budget.rows
        self._drawn: Draw | None = None  # of the first rows; those that joined since have none yet
        self._drawer = Drawer()
        self._steps = 0
        self._banked: list[tuple[str, list[int], Layers]] = []  # for the pool
        self._unwritten: list[tuple[str, list[int]]] = []  # in the pool, for its disk

    def fits(self, candidates: Sequence[ActiveRequest]) -> bool:
        """Return whether `candidates` may run beside those that run already."""
        everybody = [*self.active, *candidates]
        return self._budget.holds(len(everybody), max(map(_length_ahead, everybody)))

    def adopt(self, active: ActiveRequest, layers: Layers) -> None:
        """Let a request go on here that was served alone; its caches, which hold all but its last token, are copied."""
        if not self.active:
            self._renew_budget()
        self._cache.join([[]], [layers], _never, [active.variant])
        self.active.append(active)

    def release(self) -> tuple[ActiveRequest, Layers] | None:
        """Let the only request go, with its caches, which hold all but its last token; None where that token ended it."""
        drawn, self._drawn = self._drawn, None
        self._drawer.clear()  # it says more alone, and comes back as one who joins
        if not self._deal(drawn.read() if drawn else [], is_fed=False, scores=_scores_of(drawn)):
            self._keep([])
            self._store()
            return None
        self._store()
        (active,) = self.active
        layers = self._cache.extract(0, len(active.ids) - 1)
        self._keep([])
        return active, layers

    def drop(self, active: ActiveRequest) -> None:
        """Forget a request that nobody reads any more."""
        if active in self.active:
            self._keep([row for row, other in enumerate(self.active) if other is not active])

    def persist(self) -> None:
        """Write what the pool has got from requests that ended to the disk, if it has one.

        Raises:
            OutputError: the disk refuses.
        """
        self._store()
        unwritten, self._unwritten = self._unwritten, []
        for variant, tokens in unwritten:
            self._pool.write_down(variant, tokens)

    def step(self, queue: deque[ActiveRequest]) -> None:
        """Let those who wait in `queue` join, then give everybody who runs a token."""
        try:
            self._end_cancelled()
            self._admit(queue)
            self._go_on(queue)
            if not self.active:
                self._store()
        except _FAILURES as error:
            self._retreat(error, queue)
        except Exception as error:  # noqa: BLE001 - theirs who run: those who wait go on
            for active in self.active:
                active.fail(error)
            self.clear()
        except BaseException:
            self.clear()
            raise

    def _end_cancelled(self) -> None:
        running = len(self._drawn.places) if self._drawn else 0
        for row, active in enumerate(self.active):
            if active.cancel.is_set():
                active.finish()
                self._bank(row, is_fed=row < running)
        self._keep([row for row, active in enumerate(self.active) if not active.is_over])

    def _admit(self, queue: deque[ActiveRequest]) -> None:
        """Let requests join, once so many places are free that it is worth a pause of those that run."""
        if not self.active:
            self._renew_budget()
            mx.reset_peak_memory()
        while queue and queue[0].most_rows != 1:
            waiting = _before_a_loner(queue)
            most = min([self._most_rows, *(a.most_rows for a in [*self.active, *waiting] if a.most_rows)])
            free = most - len(self.active)
            if free < min(max(1, most // 4), len(waiting)):
                return
            group = mates(waiting, free, self._rest_tokens, self.fits)
            if not group:
                return
            self._store()
            for active in group:
                queue.remove(active)
            at = len(self.active)
            self.active += group  # before they are computed, so that a failure finds them
            if not self._join(group, _before_a_loner(queue)):
                del self.active[at:]
                for active in group:
                    active.finish()

    def _renew_budget(self) -> None:
        """Ask what may be taken, before the first joins."""
        self._budget = self._ask_budget()
        self._most_rows = min(self._most_rows, self._budget.rows)

    def _join(self, group: list[ActiveRequest], waiting: list[ActiveRequest]) -> bool:
        """Compute the prompts of `group` behind those that run; False where nobody of it is waited for any more."""

        def is_cancelled() -> bool:
            return all(active.cancel.is_set() for active in group)

        first, *others = [*group, *waiting]
        self._prefixes.look_for(first, others, is_cancelled)
        starts, known = self._prefixes.starts(group)
        for active, tokens in zip(group, known, strict=True):
            active.begin(tokens)
        rests = [active.ids[tokens:-1] for active, tokens in zip(group, known, strict=True)]
        return self._cache.join(rests, starts, is_cancelled, [active.variant for active in group])

    def _rest_tokens(self, active: ActiveRequest) -> int:
        return len(active.keys) - self._prefixes.known(active.variant.key, active.keys)

    def _go_on(self, queue: deque[ActiveRequest]) -> None:
        """Feed the tokens under way and choose those after them, unless room has to be made; deal the former.

        The choice waits for the tokens only where a constraint needs them; the network never does.
        """
        drawn, self._drawn = self._drawn, None
        logits = self._cache.step(self._inputs(drawn)) if self.active and self._has_room() else None
        if logits is None or any(active.is_constrained for active in self.active):
            if logits is not None:
                mx.async_eval(logits)  # type: ignore[no-untyped-call]
            tokens = drawn.read() if drawn else []
            staying = self._deal(tokens, is_fed=logits is not None, scores=_scores_of(drawn))
            self._keep(staying)
            if self.active and logits is not None:
                self._choose(logits[mx.array(staying)])
        else:
            self._choose(logits)
            tokens = drawn.read() if drawn else []
            self._keep(self._deal(tokens, is_fed=True, scores=_scores_of(drawn)))
        if logits is None and self.active:
            self._make_room(queue)

    def _choose(self, logits: mx.array) -> None:
        """Put the tokens after logits `[B, V]` under way."""
        for active in self.active:
            try:
                active.allowed(logits.shape[-1])
            except Exception as error:  # noqa: BLE001 - the end of this request; the others go on
                active.fail(error)
        staying = [row for row, active in enumerate(self.active) if not active.is_over]
        if len(staying) < len(self.active):
            logits = logits[mx.array(staying)] if staying else logits
            self._keep(staying)
        if staying:
            self._drawn = self._drawer.draw(logits, self.active)
            self._drawn.start()
        self._steps += 1
        if self._steps % _CLEAR_EVERY == 0:
            mx.clear_cache()

    def _inputs(self, drawn: Draw | None) -> mx.array:
        """`[B]`: the tokens under way, and the last one of each that has just joined."""
        joined = self.active[len(drawn.ids) if drawn else 0 :]
        last = mx.array([active.ids[-1] for active in joined], dtype=mx.uint32)
        return mx.concatenate([drawn.ids, last]) if drawn else last

    def _has_room(self) -> bool:
        """Whether the next step fits; where it does not, `_make_room` asks for no less, and so sends somebody away."""
        longest = max(_length_in(active, 2) for active in self.active)  # one under way, one to come
        return self._budget.holds(len(self.active), longest)

    def _deal(
        self, tokens: list[Token], *, is_fed: bool, scores: Sequence[Sequence[float] | None]
    ) -> list[int]:
        """Give the first rows their tokens; the rows that go on.

        Args:
            is_fed: whether the tokens are in the caches.
            scores: their log-probabilities, where they were asked for in arrays.
        """
        for row, (token, pair) in enumerate(zip(tokens, scores, strict=True)):
            active = self.active[row]
            try:
                is_last = active.deal(token, pair) or active.ends()
            except Exception as error:  # noqa: BLE001 - the end of this request; the others go on
                active.fail(error)
                continue
            if is_last:
                active.finish()
                self._bank(row, is_fed=is_fed)
        staying = [row for row, active in enumerate(self.active) if not active.is_over]
        self._most_rows = min(self._budget.rows, self._most_rows + len(self.active) - len(staying))
        return staying

    def _bank(self, row: int, *, is_fed: bool) -> None:
        """Keep what was computed of a request that ends, for the pool; nothing is waited for."""
        active = self.active[row]
        tokens = list(active.keys if is_fed else active.keys[:-1])
        variant = active.variant.key
        if len(tokens) - self._pool.match(variant, tokens).length >= WORTH_KEEPING:
            self._banked.append((variant, tokens, self._cache.extract(row, len(tokens))))

    def _store(self) -> None:
        """Give the pool what was banked: where the device is waited for anyhow, or has nothing to do."""
        banked, self._banked = self._banked, []
        for variant, tokens, layers in banked:
            self._pool.store(variant, tokens, layers)
            if self._pool.has_disk:
                self._unwritten.append((variant, tokens))

    def _keep(self, rows: list[int]) -> None:
        if len(rows) == len(self.active):
            return
        self.active = [self.active[row] for row in rows]
        self._cache.keep(rows)
        if self._drawn is not None:
            running = [row for row in rows if row < len(self._drawn.places)]
            self._drawn = self._drawn.keep(running) if running else None

    def _make_room(self, queue: deque[ActiveRequest]) -> None:
        """Send the last to join back to wait, with what they have said."""
        staying = len(self.active)
        while staying > 1 and not self._budget.holds(staying, max(map(_length_ahead, self.active[:staying]))):
            staying -= 1
        queue.extendleft(reversed(self.active[staying:]))
        self._keep(list(range(staying)))

    def _retreat(self, error: Exception, queue: deque[ActiveRequest]) -> None:
        """After MLX failed: all that ran goes on half as many at once; what ran alone has failed."""
        active = [active for active in self.active if not active.is_over]
        self.clear()
        if len(active) == 1:
            active[0].fail(error if isinstance(error, EdgeLMError) else _translated(error))
        else:
            self._most_rows = max(1, len(active) // 2) if active else self._most_rows
            queue.extendleft(reversed(active))

    def clear(self) -> None:
        """Let everything go that MLX may have left half computed."""
        self.active, self._drawn = [], None
        self._banked.clear()
        self._drawer.clear()
        self._cache.keep([])
        self._pool.reset()
        mx.clear_cache()


def _before_a_loner(queue: deque[ActiveRequest]) -> list[ActiveRequest]:
    """The requests that may share steps, up to the first that may not."""
    return list(itertools.takewhile(lambda active: active.most_rows != 1, queue))


def _length_ahead(active: ActiveRequest) -> int:
    """How long a sequence will soon be, its end at most."""
    return _length_in(active, _HEADROOM_TOKENS)


def _length_in(active: ActiveRequest, tokens: int) -> int:
    """How long a sequence will be `tokens` later, its end at most."""
    length = len(active.ids) + tokens
    return length if active.most_tokens is None else min(length, active.most_tokens)


def _translated(error: Exception) -> EngineError:
    """Return the error of a request that ran alone."""
    return watchdog_error(error, "the answer", "a shorter prompt") or EngineError(
        f"generation failed: {error}"
    )


def _scores_of(drawn: Draw | None) -> Sequence[Sequence[float] | None]:
    return [] if drawn is None else drawn.read_scores()


def _never() -> bool:
    return False
