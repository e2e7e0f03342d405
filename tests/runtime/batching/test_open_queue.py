"""The open queue: requests join while others run, each gets what it gets alone, and what happens to one touches no other."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import mlx.core as mx
import pytest

from edgelm.adapters.acting.rows import Acting
from edgelm.adapters.acting.variant import Variant
from edgelm.errors import EngineError, FitError, OptionError
from edgelm.runtime.cache.disk import DiskCache
from edgelm.runtime.cache.live import LiveCache
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Prefill, Token
from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.settings import Sampling
from edgelm.runtime.sequence import ActiveRequest
from edgelm.runtime.speculation.draft import Grade
from edgelm.runtime.speculation.governor import Governor
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.caches.shape import trace_cache

pytestmark = pytest.mark.slow


def draw(length: int, seed: int) -> list[int]:
    drawn = random.Random(seed)
    return [drawn.randrange(256) for _ in range(length)]


def alone(network: Any, request: Request) -> tuple[int, ...]:
    events = list(Engine(network, vocab_size=300).generate(request, threading.Event()))
    assert isinstance(events[-1], Finished)
    return events[-1].tokens


def add(engine: Engine, request: Request, cancel: threading.Event | None = None) -> ActiveRequest:
    return engine.scheduler.add(request, cancel or threading.Event())


def until(engine: Engine, is_reached: Callable[[], bool]) -> None:
    for _ in range(2000):
        if is_reached():
            return
        engine.scheduler.step()
    raise AssertionError("not reached")


def finished(active: ActiveRequest) -> Finished:
    assert active.error is None
    kinds = [type(event) for event in active.events]
    assert kinds == sorted(kinds, key=[Prefill, Token, Finished].index)
    event = active.events[-1]
    assert isinstance(event, Finished)
    assert event.tokens == tuple(event.id for event in active.events if isinstance(event, Token))
    return event


REQUESTS = [
    Request(draw(45, 1), max_tokens=30, sampling=Sampling(temperature=1.0, seed=3)),
    Request(draw(12, 2), max_tokens=20),
    Request(draw(30, 3), max_tokens=12, sampling=Sampling(temperature=0.8, repetition_penalty=1.3, seed=5)),
    Request([7], max_tokens=9, sampling=Sampling(presence_penalty=1.0, logit_bias={3: 2.0})),
]


@pytest.mark.parametrize("gap", [1, 4, 11])
def test_who_comes_later_joins(any_network: Any, bench: Callable[..., Any], gap: int) -> None:
    """The first is alone with its guesses, goes on beside others, and is alone again at the end."""
    tried = bench(any_network)
    engine = tried.engine()
    actives = []
    for request in REQUESTS:
        actives.append(add(engine, request))
        for _ in range(gap):
            engine.scheduler.step()
    until(engine, lambda: all(active.is_over for active in actives))
    for active, request in zip(actives, REQUESTS, strict=True):
        assert finished(active).tokens == alone(any_network, request)
        assert finished(active).reason == "length"
    assert max(rows for rows, _ in tried.network.shapes) > 1
    assert engine.scheduler.running == 0


def test_one_that_was_alone_in_between_is_drawn_by_all_that_it_has_said(
    any_network: Any, bench: Callable[..., Any]
) -> None:
    """Seed and penalties go on where it was, not where it left the shared steps."""
    long = Request(draw(20, 1), max_tokens=60, sampling=Sampling(temperature=1, seed=3, presence_penalty=1))
    engine = bench(any_network).engine(vocab_size=300)
    first, second = add(engine, long), add(engine, Request(draw(9, 2), max_tokens=4))
    until(engine, lambda: second.is_over)
    for _ in range(10):
        engine.scheduler.step()
    third = add(engine, Request(draw(9, 3), max_tokens=4))
    until(engine, lambda: first.is_over)
    assert third.is_over
    assert finished(first).tokens == alone(any_network, long)


def test_who_ends_where_memory_does_shares_the_last_step(network: Any, bench: Callable[..., Any]) -> None:
    """Two fit as long as they may become, not two tokens longer."""
    shape = trace_cache(network)
    assert shape is not None
    requests = [Request(draw(255, seed), max_tokens=1) for seed in (1, 2)]
    tried = bench(network, context_length=None)
    engine = tried.engine(vocab_size=300, size_bytes=2 * shape.elements_at(256) * 4)
    actives = [add(engine, request) for request in requests]
    until(engine, lambda: all(active.is_over for active in actives))
    for active, request in zip(actives, requests, strict=True):
        assert finished(active).tokens == alone(network, request)
    assert (2, 1) in tried.network.shapes


def test_memory_is_asked_for_anew_where_one_alone_goes_on_beside_others(
    network: Any, bench: Callable[..., Any]
) -> None:
    """When the rows are made, and when the first joins them."""
    engine = bench(network).engine()
    budget = engine._sharing.budget = Mock(wraps=engine._sharing.budget)
    first = add(engine, REQUESTS[0])
    until(engine, lambda: len(first.tokens) == 5)
    second = add(engine, REQUESTS[1])
    until(engine, lambda: first.is_over and second.is_over)
    assert budget.call_count == 2
    assert finished(first).tokens == alone(network, REQUESTS[0])
    assert finished(second).tokens == alone(network, REQUESTS[1])


@pytest.mark.parametrize("failing", ["batching", "budget"])
@pytest.mark.parametrize("steps", [0, 5])
def test_where_sharing_fails_requests_are_answered_in_turn(
    network: Any, bench: Callable[..., Any], caplog: pytest.LogCaptureFixture, failing: str, steps: int
) -> None:
    """Whether all wait, or one runs already; it is tried once."""
    tried = bench(network)
    engine = tried.engine()
    fails = Mock(side_effect=RuntimeError("[metal::malloc] out of luck"))
    setattr(engine._sharing, failing, fails)
    actives = [add(engine, REQUESTS[0])]
    for _ in range(steps):
        engine.scheduler.step()
    actives += [add(engine, request) for request in REQUESTS[1:]]
    until(engine, lambda: all(active.is_over for active in actives))
    for active, request in zip(actives, REQUESTS, strict=True):
        assert finished(active).tokens == alone(network, request)
    assert {rows for rows, _ in tried.network.shapes} == {1}
    assert fails.call_count == 1
    assert [record.levelname for record in caplog.records if "out of luck" in record.message] == ["WARNING"]


class Eager(Governor):
    """Always guesses."""

    def best_length(self, grade: Grade, limit: int) -> int:
        return max(0, min(3, limit))


def test_one_that_is_left_guesses_ahead_again(network: Any, bench: Callable[..., Any]) -> None:
    same = Sampling(logit_bias={5: 100.0})
    long, short = Request(draw(20, 4), max_tokens=50, sampling=same), Request(draw(9, 5), max_tokens=4)
    engine = bench(network, context_length=None).engine(vocab_size=300)
    engine._governor = Eager()
    first, second = add(engine, long), add(engine, short)
    until(engine, lambda: second.is_over)
    until(engine, lambda: first.is_over)
    assert finished(first).tokens == alone(network, long)
    assert finished(first).usage.drafted_tokens > 0


@pytest.mark.parametrize("after", [0, 1, 6])
def test_a_cancel_touches_no_other(any_network: Any, bench: Callable[..., Any], after: int) -> None:
    engine = bench(any_network).engine()
    cancel = threading.Event()
    actives = [add(engine, request, cancel if at == 0 else None) for at, request in enumerate(REQUESTS)]
    for _ in range(after):
        engine.scheduler.step()
    cancel.set()
    so_far = len(actives[0].tokens)
    until(engine, lambda: all(active.is_over for active in actives))
    assert finished(actives[0]).reason == "cancelled"
    assert len(actives[0].tokens) <= so_far + 1
    for active, request in list(zip(actives, REQUESTS, strict=True))[1:]:
        assert finished(active).tokens == alone(any_network, request)


def test_who_is_dropped_is_forgotten(network: Any, bench: Callable[..., Any]) -> None:
    """A reader that has gone, from the queue, from the shared steps and from its own loop."""
    engine = bench(network).engine()
    actives = [add(engine, request) for request in REQUESTS]
    engine.scheduler.drop(actives[3])
    for _ in range(5):
        engine.scheduler.step()
    engine.scheduler.drop(actives[0])
    until(engine, lambda: actives[1].is_over and actives[2].is_over)
    for at in (1, 2):
        assert finished(actives[at]).tokens == alone(network, REQUESTS[at])
    by_itself = add(engine, REQUESTS[0])
    for _ in range(5):
        engine.scheduler.step()
    engine.scheduler.drop(by_itself)
    assert engine.scheduler.running == 0
    again = add(engine, REQUESTS[0])
    until(engine, lambda: again.is_over)
    assert finished(again).tokens == alone(network, REQUESTS[0])


class Failing:
    """A constraint that raises when it is asked the fourth time."""

    is_over = False

    def __init__(self, columns: int, where: str) -> None:
        self._row = mx.ones((1, columns), dtype=mx.bool_)
        self._where = where
        self._asked = 0

    def allowed(self, drafts: Sequence[int] = ()) -> mx.array:
        self._count("allowed")
        return self._row

    def accept(self, token: int) -> None:
        self._count("accept")

    def forced(self, limit: int) -> list[int]:
        return []

    def _count(self, where: str) -> None:
        self._asked += where == self._where
        if self._asked == 4:
            raise EngineError("the grammar cannot be followed any further")


def refuses(columns: int) -> Failing:
    raise OptionError("nothing matches the grammar")


@pytest.mark.parametrize("where", ["allowed", "accept", "made"])
def test_an_error_of_a_constraint_touches_no_other(
    network: Any, bench: Callable[..., Any], where: str
) -> None:
    make = refuses if where == "made" else lambda columns: Failing(columns, where)
    engine = bench(network).engine()
    actives = [add(engine, request) for request in REQUESTS[:2]]
    failing = add(engine, Request(draw(8, 9), max_tokens=20, constraint=make))
    actives.append(add(engine, REQUESTS[2]))
    until(engine, lambda: failing.is_over and all(active.is_over for active in actives))
    assert isinstance(failing.error, OptionError if where == "made" else EngineError)
    for active, request in zip(actives, REQUESTS[:3], strict=True):
        assert finished(active).tokens == alone(network, request)


def test_a_request_that_is_refused_touches_no_other(network: Any, bench: Callable[..., Any]) -> None:
    def check_fits(tokens: int) -> None:
        if tokens > 100:
            raise FitError("too long")

    tried = bench(network)
    tried.check_fits = check_fits
    engine = tried.engine()
    active = add(engine, REQUESTS[0])
    engine.scheduler.step()
    with pytest.raises(FitError):
        add(engine, Request([1] * 101))
    until(engine, lambda: active.is_over)
    assert finished(active).tokens == alone(network, REQUESTS[0])


def test_a_failure_of_mlx_says_nothing_twice(network: Any, bench: Callable[..., Any]) -> None:
    """What was handed out stays; those that ran go on from there, half as many at once."""
    tried = bench(network)
    engine = tried.engine()
    actives = [add(engine, request) for request in REQUESTS]
    until(engine, lambda: len(actives[0].tokens) == 5)

    def fail(ids: mx.array) -> None:
        tried.network.before = lambda _: None
        raise RuntimeError("[metal] out of luck")

    tried.network.before = fail
    until(engine, lambda: all(active.is_over for active in actives))
    for active, request in zip(actives, REQUESTS, strict=True):
        assert finished(active).tokens == alone(network, request)


def test_a_failure_between_two_requests_leaves_an_engine_that_works(
    network: Any, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who were served meet it, the one who waits does not."""
    engine = bench(network).engine()
    first = add(engine, REQUESTS[0])
    until(engine, lambda: len(first.tokens) == 3)
    second = add(engine, REQUESTS[1])
    park = LiveCache.park

    def fails(live: LiveCache) -> None:
        monkeypatch.setattr(LiveCache, "park", park)
        raise RuntimeError("[metal::malloc] out of luck")

    monkeypatch.setattr(LiveCache, "park", fails)
    until(engine, lambda: first.is_over and second.is_over)
    assert isinstance(first.error, EngineError)
    assert "out of luck" in str(first.error)
    assert finished(second).tokens == alone(network, REQUESTS[1])


def test_what_ended_under_an_adapter_is_kept_for_it_alone(network: Any, bench: Callable[..., Any]) -> None:
    """Also where the adapter changes before the pool has got it."""
    variants = Mock(acting=Acting())
    variants.variant_of = lambda uses: variants.acting.default
    variants.acting.default = Variant("one")
    engine = bench(network, context_length=None).engine(vocab_size=300, variants=variants)
    short = add(engine, Request(draw(50, 1), max_tokens=5))
    long = add(engine, Request(draw(50, 2), max_tokens=50))
    until(engine, lambda: short.is_over)
    engine.scheduler.drop(long)
    variants.acting.default = Variant("other")
    others = [add(engine, Request(draw(9, seed), max_tokens=2)) for seed in (3, 4)]
    until(engine, lambda: all(active.is_over for active in others))
    assert engine._pool.match("one", short.ids).length >= 54
    assert engine._pool.match("other", short.ids).length < 9


def test_requests_that_may_not_share_wait_for_their_turn(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network)
    engine = tried.engine()
    actives = [engine.scheduler.add(request, threading.Event(), most_rows=1) for request in REQUESTS]
    until(engine, lambda: all(active.is_over for active in actives))
    assert {rows for rows, _ in tried.network.shapes} == {1}
    for active, request in zip(actives, REQUESTS, strict=True):
        assert finished(active).tokens == alone(network, request)


def test_rows_feed_the_pool_and_begin_from_it(any_network: Any, bench: Callable[..., Any]) -> None:
    engine = bench(any_network, context_length=None).engine(vocab_size=300)
    prompts = [draw(50, seed) for seed in range(3)]
    first = [add(engine, Request(prompt, max_tokens=20)) for prompt in prompts]
    until(engine, lambda: all(active.is_over for active in first))
    following = [Request([*active.ids, 8, 9, at], max_tokens=12) for at, active in enumerate(first)]
    # Beside each other, and the first of them by itself.
    together = [add(engine, request) for request in following[1:]]
    until(engine, lambda: all(active.is_over for active in together))
    by_itself = add(engine, following[0])
    until(engine, lambda: by_itself.is_over)
    for active, request in zip([by_itself, *together], following, strict=True):
        assert finished(active).tokens == alone(any_network, request)
        assert finished(active).usage.cached_tokens >= 68


def test_rows_begin_from_what_one_alone_has_computed(any_network: Any, bench: Callable[..., Any]) -> None:
    engine = bench(any_network, context_length=None).engine(vocab_size=300)
    turn = add(engine, Request(draw(60, 7), max_tokens=10))
    until(engine, lambda: turn.is_over)
    following = [Request([*turn.ids, 5, at], max_tokens=8) for at in range(3)]
    actives = [add(engine, request) for request in following]
    until(engine, lambda: all(active.is_over for active in actives))
    for active, request in zip(actives, following, strict=True):
        assert finished(active).tokens == alone(any_network, request)
        assert finished(active).usage.cached_tokens >= 60


def test_rows_outlive_the_process_on_the_disk(
    any_network: Any, bench: Callable[..., Any], tmp_path: Path
) -> None:
    def opened() -> Engine:
        disk = DiskCache(tmp_path, "key", budget_bytes=1 << 30, smallest=16)
        pool = Pool(layer_maker(any_network), budget_bytes=1 << 28, disk=disk)
        engine: Engine = bench(any_network, context_length=None).engine(pool=pool, vocab_size=300)
        return engine

    engine = opened()
    first = [add(engine, Request(draw(50, seed), max_tokens=20)) for seed in range(3)]
    until(engine, lambda: all(active.is_over for active in first))
    engine.persist()
    following = [Request([*active.ids, 8, at], max_tokens=6) for at, active in enumerate(first)]
    engine = opened()
    actives = [add(engine, request) for request in following]
    until(engine, lambda: all(active.is_over for active in actives))
    for active, request in zip(actives, following, strict=True):
        assert finished(active).tokens == alone(any_network, request)
        assert finished(active).usage.cached_tokens >= 68


def test_two_streams_read_by_hand(network: Any, bench: Callable[..., Any]) -> None:
    """Also one that is read later: its events wait for it."""
    engine = bench(network).engine()
    streams = [engine.generate(request, threading.Event()) for request in REQUESTS[:2]]
    next(streams[0])
    next(streams[1])
    for stream, request in zip(streams, REQUESTS, strict=False):
        *_, last = stream
        assert isinstance(last, Finished)
        assert last.tokens == alone(network, request)
