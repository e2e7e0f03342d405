"""The parts of a batch that decide: what is exact, what fits, what prompts share, who joins with whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from edgelm.adapters.acting.variant import Variant
from edgelm.device import simulate
from edgelm.errors import EngineError, OptionError
from edgelm.pricing.batch_budget import Budget, batch_budget_bytes
from edgelm.runtime.batching.exactness import find_batching
from edgelm.runtime.batching.mates import mates
from edgelm.runtime.batching.shared_prefixes import SharedPrefixes, shared_stem
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.many.prompts import Task, read_prompts
from edgelm.runtime.many.results import BatchResult
from edgelm.runtime.prefill import finish
from edgelm.runtime.requests import Request
from edgelm.runtime.runner import ModelRunner
from edgelm.runtime.sequence import ActiveRequest
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.caches.shape import CacheShape, LayerCache

GIB = 1 << 30


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("llama", "prompts"),
        ("sliding", "prompts"),
        ("recurrent", "tokens"),
        ("hybrid", "prompts"),
        ("nested", "prompts"),
    ],
)
def test_what_can_be_computed_together_is_found_out(
    build_network: Callable[[str], Any], kind: str, expected: str
) -> None:
    network = build_network(kind)
    assert find_batching(network, layer_maker(network), 300) == expected


@pytest.mark.parametrize("settings", [{"kv_dtype": "float16"}, {"max_context": 32}])
def test_caches_without_a_batch_of_their_kind_are_not_batched(
    build_network: Callable[[str], Any], settings: dict[str, Any]
) -> None:
    network = build_network("llama")
    assert find_batching(network, layer_maker(network, CacheSettings(**settings)), 300) == "none"


class Spoilt:
    """Computes sequences wrongly when several run together."""

    def __init__(self, network: Any, spoil: Callable[[mx.array, mx.array], mx.array]) -> None:
        self._network = network
        self._spoil = spoil

    def __call__(self, ids: mx.array, cache: Any) -> mx.array:
        return self._spoil(ids, self._network(ids, cache=cache))

    def named_modules(self) -> list[tuple[str, Any]]:
        modules: list[tuple[str, Any]] = self._network.named_modules()
        return modules


def mixes_rows(ids: mx.array, logits: mx.array) -> mx.array:
    return logits + 0.1 * logits[::-1]


def knows_one_only(ids: mx.array, logits: mx.array) -> mx.array:
    if ids.shape[0] > 1:
        raise ValueError("one sequence at a time")
    return logits


@pytest.mark.parametrize("spoil", [mixes_rows, knows_one_only])
def test_a_network_that_mixes_sequences_is_not_batched(
    network: Any, spoil: Callable[[mx.array, mx.array], mx.array]
) -> None:
    def together_only(ids: mx.array, logits: mx.array) -> mx.array:
        return spoil(ids, logits) if ids.shape[0] > 1 else logits

    assert find_batching(Spoilt(network, together_only), layer_maker(network), 300) == "none"


def test_the_budget_is_half_of_what_is_left() -> None:
    mac = simulate("M3", 16)
    everything = batch_budget_bytes(mac, 0)
    assert everything == batch_budget_bytes(mac, 4 * GIB) + 2 * GIB
    assert batch_budget_bytes(mac, 100 * GIB) == 0


def test_what_fits() -> None:
    shape = CacheShape((LayerCache(10, 0, None), LayerCache(10, 0, 512), LayerCache(0, 1000, None)))
    budget = Budget(rows=8, size_bytes=4 * (1000 + 20 * 512) * 4, cache=shape, bytes_per_element=4)
    assert budget.holds(4, 512)
    assert not budget.holds(5, 512)
    assert not budget.holds(4, 513)  # caches grow by 256 tokens
    assert budget.holds(1, 10**9)  # one always may
    wide = Budget(rows=8, size_bytes=1 << 40, cache=shape, bytes_per_element=4)
    assert wide.holds(8, 512)
    assert not wide.holds(9, 1)


@pytest.mark.parametrize(
    ("prompts", "known", "expected"),
    [
        ([[1] * 100], 0, 0),
        ([[1] * 100] * 2, 0, 99),
        ([[*range(60), 7, at] for at in range(5)], 0, 61),
        ([*([*range(60), at] for at in range(5)), [9, 9]], 0, 60),
        ([[9, 9], *([*range(60), at] for at in range(5))], 0, 0),
        ([[*range(30), at] for at in range(2)], 0, 0),
        ([[*range(30), at] for at in range(3)], 0, 30),
        ([[*range(30), at] for at in range(3)], 20, 0),
        ([[*range(100), at] for at in range(3)], 20, 100),
        # A long beginning shared by few, or a short one shared by many: what saves most.
        ([[*range(100), 1], [*range(100), 2], *([*range(20), 200 + at] for at in range(3))], 0, 100),
        ([[*range(100), 1], [*range(100), 2], *([*range(60), 200 + at] for at in range(3))], 0, 60),
        ([[at] * 50 for at in range(6)], 0, 0),
    ],
)
def test_what_is_worth_sharing(prompts: list[list[int]], known: int, expected: int) -> None:
    first, *others = prompts
    assert shared_stem(first, others, known=known) == first[:expected]


def test_shared_prefixes_grow_and_families_alternate(network: Any) -> None:
    fed: list[int] = []

    def watched(ids: mx.array, cache: Any) -> mx.array:
        fed.append(ids.shape[1])
        logits: mx.array = network(ids, cache=cache)
        return logits

    prefixes = SharedPrefixes(ModelRunner(watched), Pool(layer_maker(network), budget_bytes=1 << 28))

    def look_for(*prompts: list[int]) -> None:
        first, *others = map(active_of, prompts)
        if stem := prefixes.stem(first, others):
            assert finish(prefixes.learn(first, stem), lambda: False)

    short, long = [*range(40)], [*range(90)]
    other = [*range(100, 150)]
    look_for([*short, 200], [*short, 201], [*short, 202])
    look_for([*long, 200], [*long, 201], [*short, 201])
    look_for([*other, 1], [*other, 2])
    look_for([*long, 203], [*long, 204])
    assert fed == [40, 50, 50]
    assert [prefixes.known("", [*known, 250]) for known in (short, long, other)] == [40, 90, 50]
    assert prefixes.known("", short[:9]) == 8  # a cache that can be cut serves any part of it
    assert prefixes.known("", short) == 39
    (first, again), known = prefixes.starts([active_of([*long, 250]), active_of([*long, 251])])
    assert first is again
    assert known == [90, 90]
    assert first[0].offset == 90
    (adapted,), known = prefixes.starts([active_of([*long, 250], Variant("adapter"))])
    assert known == [0]
    assert adapted is not first


def active_of(prompt: list[int], variant: Variant = Variant()) -> ActiveRequest:  # noqa: B008 - frozen
    return ActiveRequest(Request(prompt), threading.Event(), variant=variant)


def waiting(lengths: list[int]) -> list[ActiveRequest]:
    return [active_of([1] * length) for length in lengths]


def take(waiting: list[ActiveRequest], places: int, most: int = 99) -> list[int]:
    """Those who join, by their place; they no longer wait."""
    group = mates(waiting, places, lambda active: len(active.ids), lambda several: len(several) <= most)
    lengths = sorted(len(active.ids) for active in group)
    waiting[:] = [active for active in waiting if active not in group]
    return lengths


def test_the_first_takes_mates_of_its_length_along() -> None:
    room = waiting([20, 900, 25, 30, 22])
    assert take(room, 3) == [20, 22, 25]
    assert take(room, 3) == [900]
    assert take(room, 3) == [30]
    assert take(room, 3) == []


def test_who_does_not_fit_waits() -> None:
    room = waiting([20, 21, 22])
    assert take(room, 3, most=2) == [20, 21]
    assert take(room, 3, most=0) == []
    assert take(room, 0) == []
    assert len(room) == 1


@pytest.mark.slow
def test_only_some_are_encoded_before_their_turn(
    network: Any, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = Task.encode

    def watched(task: Task, tokenizer: Any) -> list[int]:
        encoded.append(task.index)
        return encode(task, tokenizer)

    monkeypatch.setattr(Task, "encode", watched)
    running = bench(network).batch([[5] * 5] * 100, max_tokens=2, rows=4)
    events = running.events()
    next(events)
    assert encoded == []
    next(event for event in events if isinstance(event, BatchResult))
    assert 64 <= len(encoded) <= 64 + 4
    assert len([event for event in events if isinstance(event, BatchResult)]) == 99
    assert encoded == [*range(100)]


def test_prompts_that_are_none_are_named_by_index() -> None:
    tasks, errors = read_prompts(
        ["x", {"prompt": "y"}, 7, {"prompt": "x", "seed": -1}, {"messages": "y"}], GenerationOptions()
    )  # type: ignore[list-item]
    assert [task.index for task in tasks] == [0, 1]
    assert [index for index, _ in errors] == [2, 3, 4]
    assert all(isinstance(error, OptionError) for _, error in errors)


def test_settings_of_a_prompt_change_only_that() -> None:
    shared = GenerationOptions(max_tokens=5)
    task = Task.of(0, {"prompt": "x", "temperature": 0.5}, shared)
    assert (task.options.max_tokens, task.options.sampling.temperature) == (5, 0.5)


def test_a_result_without_a_completion_raises_its_error() -> None:
    with pytest.raises(EngineError, match="why"):
        _ = BatchResult(0, error=EngineError("why")).text
