"""Prompts that join are computed between the steps of those who run: by the order of what the network is asked, not by time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from edgelm.pricing.chunks import Chunks
from edgelm.runtime.batching import bank
from edgelm.runtime.cache.disk import DiskCache
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Prefill, Token
from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.settings import Sampling
from edgelm.runtime.sequence import ActiveRequest
from edgelm.zoo.caches.maker import layer_maker

CHUNK = 16


class Order:
    """What is fed to the network and who gets a token, in order."""

    def __init__(self, bench: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.log: list[tuple[int, ...] | ActiveRequest] = []
        self.engine: Engine = bench.engine(prefill_chunk=CHUNK, vocab_size=300, **options)
        self.engine._sharing.chunks = lambda: Chunks(4 * CHUNK, CHUNK)  # type: ignore[union-attr, method-assign]
        bench.network.before = lambda ids: self.log.append(ids.shape)
        deal = ActiveRequest.deal

        def logged(active: ActiveRequest, token: Token, scores: Sequence[float] | None = None) -> bool:
            self.log.append(active)
            return deal(active, token, scores)

        monkeypatch.setattr(ActiveRequest, "deal", logged)

    def add(
        self, length: int, new: int, seed: int = 0, stem: Sequence[int] = (), **request: Any
    ) -> ActiveRequest:
        drawn = random.Random(seed + length)
        prompt = [*stem, *(drawn.randrange(256) for _ in range(length))]
        cancel = request.pop("cancel", threading.Event())
        asked = Request(prompt, max_tokens=new, speculation=False, **request)
        return self.engine.scheduler.add(asked, cancel)

    def until(self, is_reached: Callable[[], bool]) -> None:
        for _ in range(3000):
            if is_reached():
                return
            self.engine.scheduler.step()
        raise AssertionError("not reached")

    def gaps(self, active: ActiveRequest) -> list[list[tuple[int, ...]]]:
        """What was fed between two of its tokens."""
        found: list[list[tuple[int, ...]]] = []
        for each in self.log:
            if each is active:
                found.append([])
            elif isinstance(each, tuple) and found:
                found[-1].append(each)
        return found[:-1]


@pytest.fixture
def order(network: Any, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Order:
    return Order(bench(network, context_length=None), monkeypatch)


def tokens_of(network: Any, active: ActiveRequest) -> tuple[int, ...]:
    events = list(Engine(network, vocab_size=300).generate(active.request, threading.Event()))
    assert isinstance(events[-1], Finished)
    return events[-1].tokens


def test_a_long_prompt_comes_between_the_steps_of_a_stream(order: Order, network: Any) -> None:
    """Of one that was alone until then, and of a second long prompt while the first is under way."""
    stream = order.add(9, 40)
    order.until(lambda: len(stream.tokens) == 3)
    long = [order.add(10 * CHUNK, 4), order.add(8 * CHUNK, 4)]
    order.until(lambda: all(active.is_over for active in [stream, *long]))
    gaps = order.gaps(stream)
    assert all(len(gap) <= 3 and sum(width > 1 for _, width in gap) <= 1 for gap in gaps)
    chunks = [rows * width for gap in gaps for rows, width in gap if width > 1]
    assert len(chunks) >= 18
    assert max(chunks) <= CHUNK
    for active in [stream, *long]:
        assert tuple(active.tokens) == tokens_of(network, active)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_between_two_tokens_of_a_stream_is_never_more_than_one_chunk(
    order: Order, network: Any, seed: int
) -> None:
    """Whatever comes, whenever; and everybody says what he says alone."""
    drawn = random.Random(seed)
    stem = [drawn.randrange(256) for _ in range(40)]
    arrivals = sorted((drawn.randrange(60), at) for at in range(8))
    actives: list[ActiveRequest] = []
    for step in range(61):
        for _, at in [arrival for arrival in arrivals if arrival[0] == step]:
            sampling = Sampling(temperature=drawn.choice([0.0, 1.0]), seed=at)
            length = drawn.choice([1, 7, 5 * CHUNK, 9 * CHUNK])
            shared = stem if drawn.random() < 0.5 else []
            actives.append(order.add(length, drawn.randrange(1, 30), at, shared, sampling=sampling))
        order.engine.scheduler.step()
    order.until(lambda: all(active.is_over for active in actives))
    for active in actives:
        assert tuple(active.tokens) == tokens_of(network, active)
        for gap in order.gaps(active):
            assert len(gap) <= 3
            assert sum(width > 1 for _, width in gap) <= 1


def test_progress_goes_out_with_every_chunk(order: Order) -> None:
    stream = order.add(9, 60)
    order.until(lambda: len(stream.tokens) == 3)
    long = order.add(6 * CHUNK, 2)
    order.until(lambda: long.is_over)
    done = [event.done for event in long.events if isinstance(event, Prefill)]
    assert done == sorted(done)
    assert set(range(CHUNK, 6 * CHUNK, CHUNK)) <= set(done)


@pytest.mark.slow
def test_one_that_is_cancelled_meanwhile_ends_at_the_next_chunk(order: Order, network: Any) -> None:
    cancel = threading.Event()
    stream = order.add(9, 60)
    order.until(lambda: len(stream.tokens) == 3)
    long = order.add(20 * CHUNK, 2, cancel=cancel)
    order.until(lambda: sum(isinstance(event, Prefill) for event in long.events) == 3)
    cancel.set()
    before = len(order.log)
    order.until(lambda: long.is_over)
    assert sum(isinstance(each, tuple) and each[1] > 1 for each in order.log[before:]) <= 1
    assert isinstance(long.events[-1], Finished)
    order.until(lambda: stream.is_over)
    assert tuple(stream.tokens) == tokens_of(network, stream)


@pytest.mark.slow
def test_of_a_group_one_may_be_cancelled(order: Order, network: Any) -> None:
    cancel = threading.Event()
    stream = order.add(9, 60)
    order.until(lambda: len(stream.tokens) == 3)
    group = [order.add(6 * CHUNK, 5, at, cancel=cancel if at == 1 else threading.Event()) for at in range(3)]
    order.until(lambda: any(isinstance(event, Prefill) and event.done for event in group[0].events))
    cancel.set()
    order.until(lambda: all(active.is_over for active in [stream, *group]))
    assert not group[1].tokens
    for active in [stream, group[0], group[2]]:
        assert tuple(active.tokens) == tokens_of(network, active)


@pytest.mark.slow
def test_who_is_dropped_meanwhile_is_left_out(order: Order, network: Any) -> None:
    stream = order.add(9, 40)
    order.until(lambda: len(stream.tokens) == 3)
    group = [order.add(6 * CHUNK, 5, at) for at in range(2)]
    order.until(lambda: any(isinstance(event, Prefill) and event.done for event in group[0].events))
    order.engine.scheduler.drop(group[0])
    order.until(lambda: stream.is_over and group[1].is_over)
    assert not group[0].tokens
    assert tuple(group[1].tokens) == tokens_of(network, group[1])
    assert order.engine.scheduler.running == 0


@pytest.mark.slow
def test_a_failure_of_mlx_while_a_prompt_is_computed_says_nothing_twice(
    order: Order, network: Any, bench: Callable[..., Any]
) -> None:
    stream = order.add(9, 30)
    order.until(lambda: len(stream.tokens) == 3)
    long = order.add(6 * CHUNK, 5)
    order.until(lambda: any(isinstance(event, Prefill) and event.done for event in long.events))
    watched: Any = order.engine._runner.network
    once = watched.before

    def fail(ids: mx.array) -> None:
        watched.before = once
        raise RuntimeError("[metal] out of luck")

    watched.before = fail
    order.until(lambda: stream.is_over and long.is_over)
    for active in (stream, long):
        assert active.error is None
        assert tuple(active.tokens) == tokens_of(network, active)


def test_who_comes_takes_over_what_a_running_request_has_computed(order: Order) -> None:
    """An agent's system prompt, while its first answer is still being written."""
    stem = list(range(6 * CHUNK))
    other = order.add(9, 60)
    order.until(lambda: len(other.tokens) == 3)
    first = order.add(3, 50, 1, stem)
    order.until(lambda: len(first.tokens) == 3)
    second = order.add(5, 3, 2, stem)
    order.until(lambda: second.is_over)
    assert not first.is_over
    assert second.cached_tokens == len(stem)


@pytest.mark.parametrize("gap", [0, 3])
def test_what_many_begin_with_is_computed_once(order: Order, gap: int) -> None:
    """Sixteen agents with one system prompt, in the same moment or one soon after the other."""
    stem = list(range(100))
    actives = []
    for at in range(16):
        actives.append(order.add(5, 4, at, [*stem, at]))
        for _ in range(gap):
            order.engine.scheduler.step()
    order.until(lambda: all(active.is_over for active in actives))
    computed = sum(each[0] * each[1] for each in order.log if isinstance(each, tuple))
    own = 16 * (1 + 5 + 4)
    assert computed <= len(stem) + own + 16 * 4  # what is padded
    assert [active.cached_tokens for active in actives[1:]] == [len(stem)] * 15


def test_what_is_shared_outlives_a_kill_before_anybody_has_ended(
    network: Any, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stretch at a time, between steps."""

    def pool() -> Pool:
        disk = DiskCache(tmp_path, "key", budget_bytes=1 << 30, smallest=16)
        return Pool(layer_maker(network), budget_bytes=1 << 28, disk=disk)

    monkeypatch.setattr(bank, "_STRETCH_TOKENS", 50)
    order = Order(bench(network, context_length=None), monkeypatch, pool=pool())
    stem = list(range(100))
    stream, *others = [order.add(5, 80, at, [*stem, at]) for at in range(3)]
    order.until(lambda: len(stream.tokens) == 40 and all(active.tokens for active in others))
    assert pool().match("", stem).length == 0
    sizes = []
    for _ in range(3):
        order.engine.step()
        sizes.append(pool().match("", stem).length)
    assert sizes[:2] == [50, 100]
    assert not any(active.is_over for active in (stream, *others))
