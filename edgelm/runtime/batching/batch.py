"""Continuous batching: prompts join as others end, results come as they are ready.

Each step feeds one token of every running sequence; the next step is built and started before the tokens of
the one before it are read. When the caches would outgrow the budget the last to join leaves, and joins again
later with what it has said. What fails in one reply ends that reply; when MLX fails, what ran begins again in
a batch half as wide, down to one, so that only what fails alone is given up. Runs on the engine thread.

Shapes: B sequences, V vocab.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import mlx.core as mx

from edgelm.errors import EdgeLMError, EngineError
from edgelm.machine.gpu.watchdog import watchdog_error
from edgelm.pricing.batch_budget import Budget
from edgelm.pricing.chunks import Chunks
from edgelm.runtime.batching.draw import Draw, Drawer
from edgelm.runtime.batching.lanes import CHUNKS, Lanes
from edgelm.runtime.batching.reply import Reply
from edgelm.runtime.batching.results import BatchEvent, BatchProgress, BatchResult
from edgelm.runtime.batching.stems import Stems
from edgelm.runtime.batching.waiting import WaitingRoom, failed
from edgelm.runtime.events import Token
from edgelm.runtime.requests import Cancel
from edgelm.zoo.caches.leaves import MakeLayers

_HEADROOM_TOKENS = 256
"""A sequence joins only if it may grow by so much, or to its end, before one has to leave."""

_FAILURES = (RuntimeError, ValueError, MemoryError, EdgeLMError)  # of MLX and of constraints
_REPORT_S = 0.25
_CLEAR_EVERY = 256  # steps; MLX's buffer cache grows with the reallocations of the caches


class Batch:
    """One run over many prompts.

    Args:
        network: an mlx-lm model that can be batched.
        make_layers: makes its fresh caches.
        pads: whether prompts may be computed together, see `exactness`.
        chunks: prompt tokens computed at once, over all sequences.
    """

    def __init__(
        self,
        network: Any,
        make_layers: MakeLayers,
        waiting: WaitingRoom,
        budget: Budget,
        cancel: Cancel,
        *,
        pads: bool,
        chunks: Chunks = CHUNKS,
    ) -> None:
        self._network = network
        self._make_layers = make_layers
        self._waiting = waiting
        self._budget = budget
        self._cancel = cancel
        self._lanes = Lanes(network, pads=pads, chunks=chunks)
        self._rows: list[Reply] = []
        self._drawn: Draw | None = None  # of the first rows; those that joined since have none yet
        self._drawer = Drawer()
        self._stems = Stems(network, make_layers, chunks)
        self._most_rows = budget.rows
        self._total = len(waiting)
        self._done = self._tokens = self._steps = 0
        self._started = self._reported = time.perf_counter()

    def events(self) -> Iterator[BatchEvent]:
        """One `BatchResult` for each prompt, and `BatchProgress` now and then; fewer if cancelled."""
        try:
            yield self._progress()
            while not self._cancel.is_set():
                yield from self._report(self._waiting.look_ahead())
                if not (self._waiting or self._rows):
                    return
                yield from self._report(self._go_on())
        finally:
            for reply in self._rows:
                reply.close()
            self._waiting.close()
            self._lanes.keep([])
            mx.clear_cache()

    def _go_on(self) -> list[BatchResult]:
        try:
            self._admit()
            return self._step()
        except _FAILURES as error:
            return self._retreat(error)

    def _report(self, results: Iterable[BatchResult]) -> Iterator[BatchEvent]:
        """Pass results on, with a word of progress after each and now and then."""
        for result in results:
            self._done += 1
            yield result
            yield self._progress()
        if time.perf_counter() - self._reported >= _REPORT_S:
            yield self._progress()

    def _progress(self) -> BatchProgress:
        self._reported = time.perf_counter()
        elapsed_s = self._reported - self._started
        return BatchProgress(self._done, self._total, len(self._rows), self._tokens, elapsed_s)

    def _admit(self) -> None:
        """Let prompts join, once so many places are free that it is worth a pause of those that run."""
        free = self._most_rows - len(self._rows)
        if free < min(max(1, self._most_rows // 4), len(self._waiting)):
            return
        while free > 0 and not self._cancel.is_set():
            group = self._waiting.take(free, self._rest_tokens, self._fits)
            if not group:
                return
            at = len(self._rows)
            self._rows += group  # before they are computed, so that a failure finds them
            if not self._join(group):
                del self._rows[at:]
            free -= len(group)

    def _join(self, group: list[Reply]) -> bool:
        """Compute the prompts of `group` behind those that run; False if cancelled."""
        first, *others = [*(reply.ids for reply in group), *self._waiting.prompts]
        self._stems.look_for(first, others, self._cancel.is_set)
        stems = [self._stems.of(reply.ids) for reply in group]
        for reply, stem in zip(group, stems, strict=True):
            reply.begin(min(len(stem.tokens), reply.prompt_tokens))
        rests = [reply.ids[len(stem.tokens) : -1] for reply, stem in zip(group, stems, strict=True)]
        starts = [stem.layers or self._make_layers() for stem in stems]
        return self._lanes.join(rests, starts, self._cancel.is_set)

    def _rest_tokens(self, reply: Reply) -> int:
        return len(reply.ids) - len(self._stems.of(reply.ids).tokens)

    def _fits(self, group: list[Reply]) -> bool:
        longest = max(_length_ahead(reply) for reply in [*self._rows, *group])
        return self._budget.holds(len(self._rows) + len(group), longest)

    def _step(self) -> list[BatchResult]:
        """Feed the tokens under way and choose those after them, unless room has to be made; deal the former.

        The choice waits for the tokens only where a constraint needs them; the network never does.
        """
        drawn, self._drawn = self._drawn, None
        logits = self._lanes.step(self._inputs(drawn)) if self._rows and self._has_room() else None
        if logits is None or any(reply.is_constrained for reply in self._rows):
            if logits is not None:
                mx.async_eval(logits)  # type: ignore[no-untyped-call]
            staying, results = self._deal(drawn.read() if drawn else [])
            self._keep(staying)
            if self._rows and logits is not None:
                self._choose(logits[mx.array(staying)])
        else:
            self._choose(logits)
            staying, results = self._deal(drawn.read() if drawn else [])
            self._keep(staying)
        if logits is None and self._rows:
            self._make_room()
        return results

    def _choose(self, logits: mx.array) -> None:
        """Put the tokens after logits `[B, V]` under way."""
        self._drawn = self._drawer.draw(logits, self._rows)
        self._drawn.start()
        self._steps += 1
        if self._steps % _CLEAR_EVERY == 0:
            mx.clear_cache()

    def _inputs(self, drawn: Draw | None) -> mx.array:
        """`[B]`: the tokens under way, and the last one of each that has just joined."""
        joined = self._rows[len(drawn.ids) if drawn else 0 :]
        last = mx.array([reply.ids[-1] for reply in joined], dtype=mx.uint32)
        return mx.concatenate([drawn.ids, last]) if drawn else last

    def _has_room(self) -> bool:
        longest = max(len(reply.ids) for reply in self._rows) + 2  # one under way, one to come
        return self._budget.holds(len(self._rows), longest)

    def _deal(self, tokens: list[Token]) -> tuple[list[int], list[BatchResult]]:
        """Give the first rows their tokens; the rows that go on, and the results of those that do not."""
        results, staying = [], []
        for row, token in enumerate(tokens):
            result = self._deal_one(self._rows[row], token)
            if result is None:
                staying.append(row)
            else:
                results.append(result)
        self._tokens += len(tokens)
        self._most_rows = min(self._budget.rows, self._most_rows + len(results))
        return [*staying, *range(len(tokens), len(self._rows))], results

    def _deal_one(self, reply: Reply, token: Token) -> BatchResult | None:
        try:
            completion = reply.deal(token)
        except Exception as error:  # noqa: BLE001 - the result of this prompt; the others go on
            return failed(reply.task.index, error)
        return None if completion is None else BatchResult(reply.task.index, completion)

    def _keep(self, rows: list[int]) -> None:
        if len(rows) == len(self._rows):
            return
        self._rows = [self._rows[row] for row in rows]
        self._lanes.keep(rows)
        if self._drawn is not None:
            self._drawn = self._drawn.keep(rows) if rows else None

    def _make_room(self) -> None:
        """Send the last to join back to wait, with what they have said."""
        staying = len(self._rows)
        while staying > 1 and not self._budget.holds(staying, max(map(_length_ahead, self._rows[:staying]))):
            staying -= 1
        self._waiting.put_back(self._rows[staying:])
        self._keep(list(range(staying)))

    def _retreat(self, error: Exception) -> list[BatchResult]:
        """After MLX failed: all that ran begins again, half as many at once; what ran alone has failed."""
        rows, self._rows = self._rows, []
        self._drawn = None
        self._drawer.clear()
        self._stems.clear()
        self._lanes.keep([])
        mx.clear_cache()
        if len(rows) == 1:
            known = error if isinstance(error, EdgeLMError) else _translated(error)
            return [failed(rows[0].task.index, known)]
        self._most_rows = max(1, len(rows) // 2)
        for reply in rows:
            reply.restart()
        self._waiting.put_back(rows)
        return []


def _length_ahead(reply: Reply) -> int:
    """How long a sequence will soon be, its end at most."""
    length = len(reply.ids) + _HEADROOM_TOKENS
    return length if reply.most_tokens is None else min(length, reply.most_tokens)


def _translated(error: Exception) -> EngineError:
    return watchdog_error(error, "the answers", "fewer rows at once") or EngineError(
        f"generation failed: {error}"
    )
