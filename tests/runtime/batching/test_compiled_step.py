"""A compiled step gives the logits of one that is not, from buffer to buffer, and forgets what it traced when rows change."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models.base import create_attention_mask
from mlx_lm.models.cache import KVCache

from edgelm.adapters.acting.variant import LoadedAdapter, Variant
from edgelm.runtime.batching import exactness
from edgelm.runtime.batching.batch_cache import BatchCache
from edgelm.runtime.runner import ModelRunner
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.caches.step_view import StepView

VOCAB = 300


class OneHead(nn.Module):
    """The least that has a cache: few kernels to compile, so that a test can have them compiled in earnest."""

    def __init__(self, vocab: int = VOCAB, width: int = 16) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        mx.random.seed(3)
        self.embedding, self.head = nn.Embedding(vocab, width), nn.Linear(width, vocab, bias=False)
        self.projections = [nn.Linear(width, width, bias=False) for _ in range(3)]
        self.layers = [self]

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        x = self.embedding(ids)
        queries, keys, values = (project(x)[:, None] for project in self.projections)
        mask = create_attention_mask(x, cache[0])
        keys, values = cache[0].update_and_fetch(keys, values)
        attended = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.25, mask=mask)
        logits: mx.array = self.head(attended[:, 0])
        return logits


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """What is traced, run as it is: the same arrays, and no kernels that would take seconds to compile."""
    mx.disable_compile()
    try:
        yield
    finally:
        mx.enable_compile()


def draw(count: int, length: int, seed: int) -> list[list[int]]:
    drawn = random.Random(seed)
    return [[drawn.randrange(256) for _ in range(length)] for _ in range(count)]


def begun(network: Any, make: Callable[[], list[Any]], after: int | None, lengths: list[int]) -> BatchCache:
    """A batch of prompts of these lengths."""
    batch = BatchCache(ModelRunner(network), pads=True, compiled_after=after)
    prompts = [draw(1, length, length)[0] for length in lengths]
    assert batch.join(prompts, [make() for _ in prompts], lambda: False, [Variant()] * len(prompts))
    return batch


def check_same_life(network: Any, make: Callable[[], list[Any]]) -> BatchCache:
    """Steps over the end of a buffer, one who leaves, one who joins, and what is taken out of the caches."""
    plain, compiled = (begun(network, make, after, [250, 3, 9]) for after in (None, 2))
    for at, ids in enumerate(draw(12, 3, 0)):
        expected, found = (batch.step(mx.array(ids)) for batch in (plain, compiled))
        assert mx.allclose(found, expected, atol=1e-5), at
    assert compiled.compiled_steps == 9  # not the first two, nor the one whose token found the buffer full
    for batch in (plain, compiled):
        batch.keep([0, 2])
        batch.join([draw(1, 7, 4)[0]], [make()], lambda: False, [Variant()])
    for at, ids in enumerate(draw(6, 3, 1)):
        expected, found = (batch.step(mx.array(ids)) for batch in (plain, compiled))
        assert mx.allclose(found, expected, atol=1e-5), at
    for row, tokens in enumerate((268, 27, 13)):
        for expected, found in zip(plain.extract(row, tokens), compiled.extract(row, tokens), strict=True):
            assert found.offset == expected.offset
            assert mx.allclose(found.keys, expected.keys, atol=1e-5)
            assert mx.allclose(found.values, expected.values, atol=1e-5)
    return compiled


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
def test_steps_over_fixed_buffers_are_those_of_growing_ones(build_network: Callable[[str], Any]) -> None:
    network = build_network("llama")
    check_same_life(network, layer_maker(network))


@pytest.mark.slow
def test_compiled_steps_are_the_same_too() -> None:
    network = OneHead()
    batch = check_same_life(network, lambda: [KVCache()])
    assert batch.compiled_steps == 9 + 4  # of the new rows all but two


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("kind", ["sliding", "recurrent"])
def test_caches_of_other_kinds_are_left_alone(build_network: Callable[[str], Any], kind: str) -> None:
    network = build_network(kind)
    batch = begun(network, layer_maker(network), 0, [5, 5])
    batch.step(mx.array([1, 2]))
    batch.step(mx.array([3, 4]))
    assert not batch.compiled_steps


@pytest.mark.usefixtures("uncompiled")
def test_rows_under_adapters_are_left_alone(build_network: Callable[[str], Any]) -> None:
    network = build_network("llama")
    batch = begun(network, layer_maker(network), 0, [5, 5])
    batch._turn_to([Variant(), Variant("a", ((LoadedAdapter("a", "1"), 1.0),))])
    for ids in draw(3, 2, 0):
        batch.step(mx.array(ids))
    assert not batch.compiled_steps


class Counting(OneHead):
    """Adds to its logits how far its first sequence is, as a network that asks for it in Python would."""

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        return super().__call__(ids, cache) + float(cache[0].offset[0].item())


@pytest.mark.usefixtures("uncompiled")
def test_a_network_that_asks_in_python_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "_HOST_SHARE", 0.0)
    assert exactness.compiles(OneHead(), lambda: [KVCache()], VOCAB, pads=False)
    mx.enable_compile()
    assert not exactness.compiles(Counting(), lambda: [KVCache()], VOCAB, pads=False)


@pytest.mark.usefixtures("uncompiled")
def test_what_comes_out_otherwise_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "_HOST_SHARE", 0.0)
    update = StepView.update_and_fetch

    def misplaced(self: StepView, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        return update(self, -keys, -values)

    monkeypatch.setattr(StepView, "update_and_fetch", misplaced)
    assert not exactness.compiles(OneHead(), lambda: [KVCache()], VOCAB, pads=False)


@pytest.mark.usefixtures("uncompiled")
def test_a_network_that_keeps_its_device_busy_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "_HOST_SHARE", 1.1)
    monkeypatch.setattr(BatchCache, "_settle", lambda *_: pytest.fail("a step was compiled"))
    assert not exactness.compiles(OneHead(), lambda: [KVCache()], VOCAB, pads=False)
