"""Kinds of KV cache: each does what was asked for on every architecture, or refuses it by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import ArraysCache, QuantizedKVCache, RotatingKVCache

from edgelm.errors import OptionError, UnsupportedError
from edgelm.runtime.cache.pool import Pool
from edgelm.runtime.sampling.settings import Sampling
from edgelm.zoo.caches.leaves import leaves_of, size_bytes
from edgelm.zoo.caches.maker import CastKVCache, layer_maker
from edgelm.zoo.caches.settings import CacheSettings

TEXT = [(7 * at) % 300 for at in range(90)]


def logits_of(network: Any, layers: list[Any], tokens: Sequence[int], chunk: int) -> np.ndarray:
    """Of every position, with so many tokens fed at once."""
    parts = [
        network(mx.array([list(tokens[at : at + chunk])]), cache=layers)[0]
        for at in range(0, len(tokens), chunk)
    ]
    return np.array(mx.concatenate(parts))


def test_the_default_is_the_architectures_own(any_network: Any) -> None:
    from mlx_lm.models.cache import make_prompt_cache

    made, own = layer_maker(any_network)(), make_prompt_cache(any_network)
    assert [type(leaf) for leaf in leaves_of(made)] == [type(leaf) for leaf in leaves_of(own)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "sliding", "hybrid", "recurrent", "nested"])
def test_a_bound_is_honoured_by_every_architecture(build_network: Callable[[str], Any], kind: str) -> None:
    network = build_network(kind)
    layers = layer_maker(network, CacheSettings(max_context=16))()
    logits_of(network, layers, TEXT, chunk=1)
    for leaf in leaves_of(layers):
        assert isinstance(leaf, (RotatingKVCache, ArraysCache))
        if isinstance(leaf, RotatingKVCache):
            assert leaf.keys.shape[2] <= 16


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "sliding", "hybrid", "nested"])
@pytest.mark.parametrize("chunk", [2, 7, 30, 90])
def test_a_bounded_cache_computes_the_same_however_it_is_fed(
    build_network: Callable[[str], Any], kind: str, chunk: int
) -> None:
    network = build_network(kind)
    make = layer_maker(network, CacheSettings(max_context=20))
    one_by_one = logits_of(network, make(), TEXT, chunk=1)
    np.testing.assert_allclose(logits_of(network, make(), TEXT, chunk), one_by_one, atol=2e-3)


def test_a_bounded_cache_sees_the_first_tokens_and_the_last(network: Any) -> None:
    """Against attention that is told so by a mask over everything."""
    size, sinks = 20, 4
    layers = layer_maker(network, CacheSettings(max_context=size))()
    bounded = logits_of(network, layers, TEXT, chunk=13)
    at = np.arange(len(TEXT))
    near = at[:, None] - at[None] < size - sinks
    mask = mx.array((at[None] <= at[:, None]) & (near | (at[None] < sinks)))

    class Told:
        """A stateless cache whose mask is that."""

        offset = 0

        def make_mask(self, *_: Any, **__: Any) -> mx.array:
            return mask

        def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
            return keys, values

    told = network(mx.array([TEXT]), cache=[Told() for _ in layers])[0]
    np.testing.assert_allclose(bounded, np.array(told), atol=2e-3)


def test_a_bound_that_is_not_reached_changes_nothing(any_network: Any) -> None:
    bounded = logits_of(any_network, layer_maker(any_network, CacheSettings(max_context=96))(), TEXT, 10)
    np.testing.assert_allclose(
        bounded, logits_of(any_network, layer_maker(any_network)(), TEXT, 10), atol=2e-3
    )


def test_half_precision_takes_half_the_memory(network: Any) -> None:
    full, half = layer_maker(network)(), layer_maker(network, CacheSettings(kv_dtype="float16"))()
    expected = logits_of(network, full, TEXT, 10)
    np.testing.assert_allclose(logits_of(network, half, TEXT, 10), expected, atol=0.05)
    assert all(isinstance(leaf, CastKVCache) for leaf in half)
    assert 2 * size_bytes([leaf.state for leaf in half]) == size_bytes([leaf.state for leaf in full])


def wide_llama() -> Any:
    from mlx_lm.models.llama import Model, ModelArgs

    mx.random.seed(3)
    return Model(
        ModelArgs(
            model_type="llama", hidden_size=128, num_hidden_layers=2, intermediate_size=64,
            num_attention_heads=2, num_key_value_heads=1, rms_norm_eps=1e-5, vocab_size=300,
        )
    )  # fmt: skip


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.01), (4, 0.15)])
def test_quantized_caches_are_close_and_small(bits: int, tolerance: float) -> None:
    network = wide_llama()
    full, packed = layer_maker(network)(), layer_maker(network, CacheSettings(kv_bits=bits))()
    expected = logits_of(network, full, TEXT, 10)
    error = logits_of(network, packed, TEXT, 10) - expected
    assert np.sqrt((error**2).mean() / (expected**2).mean()) < tolerance
    assert all(isinstance(leaf, QuantizedKVCache) and leaf.bits == bits for leaf in packed)
    assert (
        size_bytes([leaf.state for leaf in packed])
        < size_bytes([leaf.state for leaf in full]) * (bits + 2) / 32
    )


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"kv_bits": 4}, {"kv_dtype": "float16"}, {"max_context": 24}], ids=str)
def test_the_pool_works_with_every_kind(settings: dict[str, Any], drive: Callable[..., Any]) -> None:
    network = wide_llama()
    make = layer_maker(network, CacheSettings(**settings))

    def driver() -> Any:
        return drive(network, pool=Pool(make, budget_bytes=1 << 30), prefill_chunk=16)

    warm = driver()
    answer = warm.run(TEXT, max_tokens=12)
    branch = [*TEXT[:50], 5, 6, 7]
    for prompt in ([*TEXT, *answer, 3], branch, [*TEXT, *answer, 4], [*branch, 1]):
        sampling = Sampling(temperature=0.7, seed=3)
        assert warm.run(prompt, sampling=sampling) == driver().run(prompt, sampling=sampling)
    assert warm.finished.usage.cached_tokens > 40


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("recurrent", {"kv_bits": 8}, "mamba cannot run with this KV cache: it has no full attention"),
        ("recurrent", {"kv_dtype": "float16"}, "no full attention"),
        ("llama", {"kv_bits": 8}, "llama cannot run with this KV cache: its heads are 8 wide"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    build_network: Callable[[str], Any], kind: str, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        layer_maker(build_network(kind), CacheSettings(**settings))


def test_a_network_that_does_not_take_the_cache_is_refused_by_name(network: Any) -> None:
    class Picky:
        model_type = "picky"
        layers = network.layers

        def __call__(self, ids: mx.array, cache: Any) -> mx.array:
            if isinstance(cache[0], RotatingKVCache):
                raise AttributeError("no attribute 'trim_front'")
            return network(ids, cache=cache)

    with pytest.raises(
        UnsupportedError, match="picky cannot run with this KV cache: it does not take this cache"
    ):
        layer_maker(Picky(), CacheSettings(max_context=16))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kv_bits": 3}, "kv_bits is 3, expected one of 4, 8"),
        ({"kv_dtype": "float64"}, "kv_dtype"),
        ({"max_context": 8}, "max_context is 8, expected >= 16"),
        ({"kv_bits": 8, "max_context": 64}, "kv_bits and max_context exclude each other"),
    ],
)
def test_bad_settings_are_refused_when_built(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CacheSettings(**settings)
