"""Requests under different adapters share steps and nothing that was computed."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from lora_adapters import write_lora
from tune_networks import VOCAB, make_network

from edgelm.adapters.stack import AdapterStack
from edgelm.adapters.use import AdapterUse
from edgelm.errors import UnsupportedError
from edgelm.pricing.batch_budget import Budget
from edgelm.runtime.batching.batch_cache import CHUNKS
from edgelm.runtime.batching.exactness import mixes_variants
from edgelm.runtime.cache.disk import DiskCache
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished
from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.settings import Sampling
from edgelm.runtime.sequence import ActiveRequest
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.caches.shape import trace_cache

LENGTH = 200
"""Tokens that are worth a file."""


class Fixture:
    """One network, its stack, and two adapters on the disk."""

    def __init__(self, folder: Path, kind: str = "llama") -> None:
        self.network = make_network(kind)
        self.stack = AdapterStack(self.network)
        self.folder = folder
        self.uses = [AdapterUse(write_lora(folder / f"a{seed}", self.network, seed=seed)) for seed in (1, 2)]
        self.mixes = True
        self.widths: list[int] = []

    def engine(self, *, disk: bool = False) -> Engine:
        make, shape = layer_maker(self.network), trace_cache(self.network)
        store = DiskCache(self.folder / "cache", "model", budget_bytes=1 << 28) if disk else None
        engine = Engine(
            _Watched(self.network, self.widths), vocab_size=VOCAB, variants=self.stack, context_length=400,
            pool=Pool(make, budget_bytes=1 << 28, disk=store),
            sharing=_Fixed(Budget(8, 1 << 30, shape, 4), lambda: self.mixes),  # type: ignore[arg-type]
        )  # fmt: skip
        self.widths.clear()
        return engine

    def requests(self, prompt: list[int], **settings: Any) -> list[Request]:
        """One of the base, one of each adapter, one of both."""
        first, second = self.uses
        chosen = ((), (first,), (second,), (first, AdapterUse(second.directory, 0.5)))
        return [Request(prompt, adapters=uses, **settings) for uses in chosen]


class _Watched:
    def __init__(self, network: Any, widths: list[int]) -> None:
        self._network, self._widths = network, widths

    def __call__(self, ids: mx.array, cache: Any) -> mx.array:
        self._widths.append(ids.shape[0])
        logits: mx.array = self._network(ids, cache=cache)
        return logits


class _Fixed:
    def __init__(self, budget: Budget, mixes: Any) -> None:
        self.batching = lambda: "prompts"
        self.budget = lambda: budget
        self.chunks = lambda: CHUNKS
        self.compiles = lambda: False
        self.mixes = lambda _: mixes()


def draw(length: int, seed: int) -> list[int]:
    drawn = random.Random(seed)
    return [drawn.randrange(VOCAB) for _ in range(length)]


def served(engine: Engine, requests: list[Request], gap: int = 0) -> list[Finished]:
    actives: list[ActiveRequest] = []
    for request in requests:
        actives.append(engine.scheduler.add(request, threading.Event()))
        for _ in range(gap):
            engine.scheduler.step()
    for _ in range(3000):
        if all(active.is_over for active in actives):
            break
        engine.scheduler.step()
    ends = []
    for active in actives:
        assert active.error is None
        end = active.events[-1]
        assert isinstance(end, Finished)
        ends.append(end)
    return ends


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "gap"), [("llama", 0), ("llama", 3), ("qwen3_moe", 0)])
def test_rows_of_one_batch_under_different_adapters_say_what_they_say_alone(
    kind: str, gap: int, tmp_path: Path
) -> None:
    fixture = Fixture(tmp_path, kind)
    requests = [
        *fixture.requests(draw(45, 1), max_tokens=12),
        *fixture.requests(draw(20, 2), max_tokens=12, sampling=Sampling(temperature=1.0, seed=3)),
    ]
    together = served(fixture.engine(), requests, gap)
    assert max(fixture.widths) > 4
    alone = [served(fixture.engine(), [request])[0] for request in requests]
    assert [end.tokens for end in together] == [end.tokens for end in alone]
    assert len({end.tokens for end in together}) == 8


@pytest.mark.slow
@pytest.mark.parametrize("is_together", [False, True])
def test_caches_are_never_used_for_another_variant(is_together: bool, tmp_path: Path) -> None:
    fixture = Fixture(tmp_path)
    engine = fixture.engine(disk=True)
    requests = fixture.requests(draw(LENGTH, 1), max_tokens=4)
    for _ in range(2):
        ends = []
        for some in [requests] if is_together else [[each] for each in requests]:
            ends += served(engine, some)
            engine.persist()
    assert [end.usage.cached_tokens for end in ends] == [LENGTH - 1] * 4
    cached = []
    for request in requests:  # what the disk has, after a restart, each before and after another
        for later in (request, requests[0]):
            cached += served(fixture.engine(disk=True), [later])
    assert {end.usage.cached_tokens for end in cached} == {LENGTH - 1}
    fresh = Fixture(tmp_path / "fresh")
    expected = [
        served(fresh.engine(), [each])[0].tokens for each in fresh.requests(draw(LENGTH, 1), max_tokens=4)
    ]
    assert [end.tokens for end in ends] == expected
    assert [end.tokens for end in cached[::2]] == expected


@pytest.mark.slow
def test_where_rows_cannot_be_told_apart_variants_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixture = Fixture(tmp_path, "qwen3_moe")
    make = layer_maker(fixture.network)

    def mixes(variant: Any) -> bool:
        acting = fixture.stack.acting
        return mixes_variants(fixture.network, acting, make, VOCAB, variant, pads=True)

    with monkeypatch.context() as patched:
        patched.setattr("edgelm.adapters.stack.apart", lambda *_: None)
        assert not mixes(fixture.stack.variant_of([fixture.uses[0]]))  # it acts on experts too
    fixture = Fixture(tmp_path / "other", "qwen3_moe")
    assert mixes(fixture.stack.variant_of([fixture.uses[0]]))
    fixture.mixes = False
    requests = fixture.requests(draw(30, 1), max_tokens=6) + fixture.requests(draw(31, 2), max_tokens=6)
    together = served(fixture.engine(), requests)
    assert max(fixture.widths) == 1
    assert [end.tokens for end in together] == [
        served(fixture.engine(), [each])[0].tokens for each in requests
    ]


def test_an_adapter_that_cannot_be_read_ends_its_request_alone(tmp_path: Path) -> None:
    fixture = Fixture(tmp_path)
    engine = fixture.engine()
    first = engine.scheduler.add(Request(draw(20, 1), max_tokens=8), threading.Event())
    engine.scheduler.step()
    broken = write_lora(tmp_path / "broken", fixture.network)
    (broken / "adapters.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(Exception, match="broken"):
        engine.scheduler.add(Request([1], adapters=(AdapterUse(broken),)), threading.Event())
    while not first.is_over:
        engine.scheduler.step()
    assert first.error is None
    with pytest.raises(UnsupportedError, match="without adapters"):
        Engine(fixture.network, vocab_size=VOCAB).scheduler.add(
            Request([1], adapters=(fixture.uses[0],)), threading.Event()
        )
