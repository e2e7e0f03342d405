"""The pool: what was computed is found again, whatever the kind of cache, and memory stays within its budget."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import pytest

from edgelm.runtime.cache.pool import Pool, common_prefix, snapshot_of
from edgelm.zoo.caches.leaves import leaves_of
from edgelm.zoo.caches.maker import layer_maker

PLENTY = 1 << 30


def computed(network: Any, make: Callable[[], list[Any]], tokens: Sequence[int]) -> list[Any]:
    layers = make()
    mx.eval(network(mx.array([list(tokens)]), cache=layers))
    return layers


def last_logits(network: Any, layers: list[Any], tokens: Sequence[int]) -> list[float]:
    found: list[float] = network(mx.array([list(tokens)]), cache=layers)[0, -1].tolist()
    return found


class Pooled:
    """A pool over a network, and the shortest way to fill it."""

    def __init__(self, network: Any, budget_bytes: int = PLENTY) -> None:
        self.network = network
        self.make = layer_maker(network)
        self.pool = Pool(self.make, budget_bytes=budget_bytes)

    def store(self, tokens: Sequence[int], snapshots: Sequence[int] = (), variant: str = "") -> None:
        """Keep `tokens`, with the states at some of their places."""
        taken = {
            place: snapshot_of(list(leaves_of(computed(self.network, self.make, tokens[:place]))))
            for place in snapshots
        }
        self.pool.store(variant, tokens, computed(self.network, self.make, tokens), taken)

    def continues_as_cold(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` are known; what follows them is checked against a cold run."""
        layers, known = self.pool.load("", tokens[:-1])
        cold = last_logits(self.network, self.make(), tokens)
        assert last_logits(self.network, layers, tokens[known:]) == pytest.approx(cold, abs=2e-4)
        return known


@pytest.fixture
def pooled(any_network: Any) -> Pooled:
    return Pooled(any_network)


def test_what_was_stored_is_known(pooled: Pooled) -> None:
    pooled.store(range(40))
    assert pooled.continues_as_cold([*range(40), 7]) == 40
    assert pooled.continues_as_cold([*range(40), 7]) == 40  # loading takes nothing away


def test_branches_share_what_they_have_in_common(network: Any) -> None:
    pooled = Pooled(network)
    pooled.store([*range(40), *range(100, 120)])
    once = pooled.pool.size_bytes
    pooled.store([*range(40), *range(200, 220)])
    assert pooled.pool.size_bytes == once * 80 // 60
    assert pooled.continues_as_cold([*range(40), *range(100, 120), 3]) == 60
    assert pooled.continues_as_cold([*range(40), *range(200, 220), 3]) == 60
    assert pooled.continues_as_cold([*range(40), 9, 9]) == 40


def test_a_stretch_may_be_used_in_part(network: Any) -> None:
    pooled = Pooled(network)
    pooled.store(range(50))
    assert pooled.continues_as_cold([*range(23), 299]) == 23


@pytest.mark.parametrize("kind", ["recurrent", "hybrid", "nested", "sliding"])
def test_states_begin_where_snapshots_were_taken(build_network: Callable[[str], Any], kind: str) -> None:
    pooled = Pooled(build_network(kind))
    pooled.store(range(60), snapshots=(20, 40))
    assert pooled.continues_as_cold([*range(60), 1]) == 60
    assert pooled.continues_as_cold([*range(55), 299, 299]) == 40
    assert pooled.continues_as_cold([*range(33), 299]) == 20
    assert pooled.continues_as_cold([*range(10), 299]) == 0


def test_a_window_that_has_not_wrapped_is_cut_anywhere(build_network: Callable[[str], Any]) -> None:
    pooled = Pooled(build_network("sliding"))  # windows of 16
    pooled.store(range(14))
    assert pooled.continues_as_cold([*range(9), 299, 1]) == 9


def test_snapshots_come_to_stretches_that_lack_them(build_network: Callable[[str], Any]) -> None:
    pooled = Pooled(build_network("hybrid"))
    pooled.store(range(60))
    assert pooled.continues_as_cold([*range(30), 299]) == 0
    pooled.store([*range(60), 5], snapshots=(25,))
    assert pooled.continues_as_cold([*range(30), 299]) == 25
    assert pooled.continues_as_cold([*range(60), 9]) == 60


def test_variants_are_kept_apart(network: Any) -> None:
    pooled = Pooled(network)
    pooled.store(range(30), variant="adapter")
    assert pooled.pool.match("", range(30)).length == 0
    assert pooled.pool.match("adapter", range(30)).length == 30


def test_what_was_used_longest_ago_goes_first(network: Any) -> None:
    measure = Pooled(network)
    measure.store(range(30))
    pooled = Pooled(network, budget_bytes=2 * measure.pool.size_bytes)
    first, second, third = (list(range(at, at + 30)) for at in (0, 100, 200))
    pooled.store(first)
    pooled.store(second)
    assert pooled.continues_as_cold([*first, 1]) == 30
    pooled.store(third)
    assert [pooled.pool.match("", tokens).length for tokens in (first, second, third)] == [30, 0, 30]


def test_a_branch_goes_before_what_it_grows_from(network: Any) -> None:
    pooled = Pooled(network)
    pooled.store(range(30))
    pooled.store([*range(30), *range(100, 130)])
    pooled.pool.limit(pooled.pool.size_bytes // 2)
    assert pooled.pool.match("", [*range(30), *range(100, 130)]).length == 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_any_history_within_any_budget(any_network: Any, seed: int) -> None:
    """Random stores and loads: never over budget, never wrong, and bytes are counted exactly."""
    rng = random.Random(seed)
    pooled = Pooled(any_network)
    pooled.store(range(40))
    pooled.pool.limit(3 * pooled.pool.size_bytes)
    texts = [[rng.randrange(4) for _ in range(rng.randrange(20, 60))] for _ in range(3)]
    for _ in range(12):
        text = list(rng.choice(texts))
        text = text[: rng.randrange(5, len(text))] + [rng.randrange(4) for _ in range(rng.randrange(1, 20))]
        pooled.continues_as_cold([*text, 7])
        pooled.store(text, snapshots=sorted(rng.sample(range(1, len(text)), 2)))
        assert pooled.pool.size_bytes == sum(node.size_bytes for node in pooled.pool._nodes())
        assert pooled.pool.size_bytes <= pooled.pool.budget_bytes


def test_reset_forgets(pooled: Pooled) -> None:
    pooled.store(range(30))
    pooled.pool.reset()
    assert pooled.pool.size_bytes == 0
    assert pooled.pool.match("", range(30)).length == 0


def test_common_prefix() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([1, 2], [1, 2, 4]) == 2
    assert common_prefix([], [1]) == 0
