"""Continuous batching: requests join as others end, and share every step of the network.

Each step feeds one token of every running request; the next step is built and started before the tokens of the one before it
are read. Prompts of those who join are computed a chunk at a time between two steps (`joining.py`). What prompts begin with is
taken from the prefix pool, and what was computed of a request that ends goes there. When the caches would outgrow the budget
the last to join leaves, and joins again later with what it has said. What fails in one request ends that request; when MLX
fails, what ran goes on in a batch half as wide, down to one, so that only what fails alone is given up. Runs on the engine
thread.

Shapes: B requests, V vocab.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import mlx.core as mx

from edgelm.adapters.acting.variant import Variant
from edgelm.errors import EdgeLMError, EngineError
from edgelm.machine.gpu.watchdog import watchdog_error
from edgelm.pricing.batch_budget import Budget
from edgelm.pricing.chunks import Chunks
from edgelm.runtime.batching.bank import Bank
from edgelm.runtime.batching.batch_cache import CHUNKS, SPREAD_TOKENS, BatchCache
from edgelm.runtime.batching.compiled_step import SETTLED_STEPS
from edgelm.runtime.batching.draw import Draw, Drawer
from edgelm.runtime.batching.joining import Joining
from edgelm.runtime.batching.mates import before_a_loner, mates
from edgelm.runtime.batching.shared_prefixes import SharedPrefixes
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
        mixes: whether rows of a variant may run beside rows of others, asked when they would.
        pads: whether prompts may be computed together, see `exactness`.
        chunks: prompt tokens computed at once, over all of them.
        compiles: whether their step may be compiled once they have stayed the same for a while.
    """

    def __init__(
        self,
        runner: ModelRunner,
        pool: Pool,
        budget: Callable[[], Budget],
        *,
        mixes: Callable[[Variant], bool],
        pads: bool,
        chunks: Chunks = CHUNKS,
        compiles: bool = False,
    ) -> None:
        self.active: list[ActiveRequest] = []
        self._chunks, self._chunks_beside = chunks, chunks.beside_streams()
        self._cache = BatchCache(
            runner, pads=pads, chunks=self, compiled_after=SETTLED_STEPS if compiles else None
        )
        self._pool = pool
        self._prefixes = SharedPrefixes(runner, pool, self)
        self._joining: Joining | None = None
        self._ask_budget = budget
        self._mixes = mixes
        self._budget = budget()
        self._most_rows = self._budget.rows
        self._drawn: Draw | None = None  # of the first rows; those that joined since have none yet
        self._drawer = Drawer()
        self._steps = 0
        self._bank = Bank(pool)

    @property
    def served(self) -> list[ActiveRequest]:
        """Those who run, and those whose prompts are under way."""
        return [*self.active, *(self._joining.group if self._joining else [])]

    @property
    def is_joining(self) -> bool:
        """Whether prompts are under way."""
        return self._joining is not None

    def at(self, context_tokens: int) -> int:
        """Return how many prompt tokens to compute at once: fewer where others wait for it."""
        return (self._chunks_beside if self.active else self._chunks).at(context_tokens)

    def fits(self, candidates: Sequence[ActiveRequest]) -> bool:
        """Return whether `candidates` may run beside those that are served already."""
        everybody = [*self.served, *candidates]
        longest = max(active.length_in(_HEADROOM_TOKENS) for active in everybody)
        return self._budget.holds(len(everybody), longest) and self._may_mix(everybody)

    def _may_mix(self, actives: Sequence[ActiveRequest]) -> bool:
        variants = {active.variant.key: active.variant for active in actives}
        return len(variants) == 1 or all(map(self._mixes, variants.values()))

    def adopt(self, active: ActiveRequest, layers: Layers) -> None:
        """Let a request go on here that was served alone; its caches, which hold all but its last token, are copied."""
        if not self.active:
            self._renew_budget()
        self._cache.join([[]], [layers], _never, [active.variant])
        self.active.append(active)

    def note_parked(self, active: ActiveRequest) -> None:
        """Have what the pool has got of a request that was served alone written."""
        self._bank.note(active.variant.key, active.keys[:-1])

    def release(self) -> tuple[ActiveRequest, Layers] | None:
        """Let the only request go, with its caches, which hold all but its last token; None where that token ended it."""
        drawn, self._drawn = self._drawn, None
        self._drawer.clear()  # it says more alone, and comes back as one who joins
        if not self._deal(drawn.read() if drawn else [], is_fed=False, scores=_scores_of(drawn)):
            self._keep([])
            self._bank.store()
            return None
        self._bank.store()
        (active,) = self.active
        layers = self._cache.extract(0, len(active.ids) - 1)
        self._keep([])
        return active, layers

    def drop(self, active: ActiveRequest) -> None:
        """Forget a request that nobody reads any more."""
        active.is_over = True  # one whose prompt is under way is left out when it is computed
        if active in self.active:
            self._keep([row for row, other in enumerate(self.active) if other is not active])
        elif self._joining is not None and not self._joining.is_wanted:
            self._joining = None

    def persist(self) -> None:
        """Write what the pool has got to its disk, if it has one and nobody waits; see `write_some`.

        Raises:
            OutputError: the disk refuses.
        """
        self._bank.store()
        if not self.served:
            self._bank.write_all()

    @property
    def has_unwritten(self) -> bool:
        """Whether something is to be written, and nobody waits for a prompt already."""
        return self._bank.has_unwritten and self._joining is None

    def write_some(self) -> None:
        """Write a little of that while others run.

        Raises:
            OutputError: the disk refuses.
        """
        self._bank.write_some()

    def step(self, queue: deque[ActiveRequest]) -> None:
        """Compute a chunk of the prompts of those who join from `queue`, and give everybody who runs a token."""
        try:
            self._end_cancelled()
            # Those who run and have no token under way would wait for a chunk, and for a second one.
            if self._drawn or not self.active:
                self._admit(queue)
            if self._joining is not None:
                self._joining.start()
            if self.active:
                self._go_on(queue)
            if self._joining is not None:
                self._joining.wait()
                self._seat_if_computed()
            if not self.active:
                self._bank.store()
        except _FAILURES as error:
            self._retreat(error, queue)
        except Exception as error:  # noqa: BLE001 - theirs who run: those who wait go on
            for active in self.served:
                active.fail(error)
            self.clear()
        except BaseException:
            self.clear()
            raise

    def _end_cancelled(self) -> None:
        running = len(self._drawn.places) if self._drawn else 0
        for row, active in enumerate(self.active):
            if active.cancel.is_set():
                self._end(row, is_fed=row < running)
        self._keep(self._staying())
        if self._joining is not None:
            self._joining.end_cancelled()
            if not self._joining.is_wanted:
                self._joining = None

    def _admit(self, queue: deque[ActiveRequest]) -> None:
        """Begin the prompts of those who join next, once so many places are free that it is worth a pause of those that run."""
        if not self.active and self._joining is None:
            self._renew_budget()
            mx.reset_peak_memory()
        while self._joining is None and queue and queue[0].most_rows != 1:
            waiting = before_a_loner(queue)
            most = min([self._most_rows, *(a.most_rows for a in [*self.active, *waiting] if a.most_rows)])
            free = most - len(self.active)
            if free < min(max(1, most // 4), len(waiting)):
                return
            self._bank.store()
            if (row := self._bank.most_shared(waiting[0], self.active)) is not None:
                tokens = self._fed(row)
                self._bank.put(waiting[0].variant.key, tokens, self._cache.extract(row, len(tokens)))
            padding = self.at(0) if self.active else SPREAD_TOKENS
            group = mates(waiting, free, self._rest_tokens, self.fits, most_padding=padding)
            if not group:
                return
            for active in group:
                queue.remove(active)
            waiting = before_a_loner(queue)
            self._joining = Joining(group, waiting, self._prefixes, self._cache)
            self._joining.build()  # now that a failure finds them
            self._seat_if_computed()

    def _seat_if_computed(self) -> None:
        """Let those whose prompts are computed run."""
        joining = self._joining
        if joining is None:
            return
        if joining.stem:
            self._bank.note(joining.group[0].variant.key, joining.stem)
            joining.stem = []
        rows = joining.rows
        if joining.layers is not None and rows:
            staying = [joining.group[row] for row in rows]
            variants = [active.variant for active in staying]
            self._cache.append(joining.layers, variants, rows if len(rows) < len(joining.group) else None)
            self.active += staying
        if joining.layers is not None or not rows:
            self._joining = None

    def _fed(self, row: int) -> list[int]:
        """What the caches of a running request hold; its last token only where the one after it is under way."""
        keys = self.active[row].keys
        return list(keys if self._drawn and row < len(self._drawn.places) else keys[:-1])

    def _renew_budget(self) -> None:
        """Ask what may be taken, before the first joins."""
        self._budget = self._ask_budget()
        self._most_rows = min(self._most_rows, self._budget.rows)

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
            if active.is_constrained:
                try:
                    active.allowed(logits.shape[-1])
                except Exception as error:  # noqa: BLE001 - the end of this request; the others go on
                    active.fail(error)
        staying = self._staying()
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
        joined = self.active[len(drawn.places) if drawn else 0 :]
        if drawn and not joined:
            return drawn.ids
        last = mx.array([active.ids[-1] for active in joined], dtype=mx.uint32)
        return mx.concatenate([drawn.ids, last]) if drawn else last

    def _has_room(self) -> bool:
        """Whether the next step fits; where it does not, `_make_room` asks for no less, and so sends somebody away."""
        served = self.served
        longest = max([len(active.ids) for active in served]) + 2  # one under way, one to come
        return self._budget.holds(len(served), longest) or self._budget.holds(
            len(served), max(active.length_in(2) for active in served)
        )

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
                self._end(row, is_fed=is_fed)
        staying = self._staying()
        self._most_rows = min(self._budget.rows, self._most_rows + len(self.active) - len(staying))
        return staying

    def _end(self, row: int, *, is_fed: bool) -> None:
        """Tell a request how it ended, and keep what was computed of it; nothing is waited for."""
        active = self.active[row]
        active.finish()
        tokens = list(active.keys if is_fed else active.keys[:-1])
        self._bank.add(active.variant.key, tokens, lambda: self._cache.extract(row, len(tokens)))

    def _staying(self) -> list[int]:
        """The rows that are not over."""
        return [row for row, active in enumerate(self.active) if not active.is_over]

    def _keep(self, rows: list[int]) -> None:
        if len(rows) == len(self.active):
            return
        self.active = [self.active[row] for row in rows]
        self._cache.keep(rows)
        if self._drawn is not None:
            running = [row for row in rows if row < len(self._drawn.places)]
            self._drawn = self._drawn.keep(running) if running else None

    def _make_room(self, queue: deque[ActiveRequest]) -> None:
        """Send the last to join back to wait, with what they have said: first those whose prompts are under way."""
        joining, self._joining = self._joining, None
        if joining is not None:
            queue.extendleft(reversed([joining.group[row] for row in joining.rows]))
        staying = len(self.active)
        lengths = [active.length_in(_HEADROOM_TOKENS) for active in self.active]
        while staying > 1 and not self._budget.holds(staying, max(lengths[:staying])):
            staying -= 1
        queue.extendleft(reversed(self.active[staying:]))
        self._keep(list(range(staying)))

    def _retreat(self, error: Exception, queue: deque[ActiveRequest]) -> None:
        """After MLX failed: all that ran goes on half as many at once; what ran alone has failed."""
        active = [active for active in self.served if not active.is_over]
        self.clear()
        if len(active) == 1:
            active[0].fail(error if isinstance(error, EdgeLMError) else _translated(error))
        else:
            self._most_rows = max(1, len(active) // 2) if active else self._most_rows
            queue.extendleft(reversed(active))

    def clear(self) -> None:
        """Let everything go that MLX may have left half computed."""
        self.active, self._drawn, self._joining = [], None, None
        self._bank.clear()
        self._drawer.clear()
        self._cache.keep([])
        self._pool.reset()
        mx.clear_cache()


def _translated(error: Exception) -> EngineError:
    """Return the error of a request that ran alone."""
    return watchdog_error(error, "the answer", "a shorter prompt") or EngineError(
        f"generation failed: {error}"
    )


def _scores_of(drawn: Draw | None) -> Sequence[Sequence[float] | None]:
    return [] if drawn is None else drawn.read_scores()


def _never() -> bool:
    return False
