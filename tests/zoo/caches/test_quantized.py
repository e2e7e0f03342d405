"""Quantized caches side by side hold what each holds alone, bit for bit, whoever joins and leaves."""

from __future__ import annotations

import random

import mlx.core as mx
import pytest
from tune_networks import VOCAB, make_network

from edgelm.runtime.batching.exactness import find_batching
from edgelm.zoo.caches.batch import extract_row
from edgelm.zoo.caches.leaves import arrays_of
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.caches.quantized import BatchPackedKVCache, PackedKVCache
from edgelm.zoo.caches.settings import CacheSettings

HEADS, WIDTH = 2, 64


class Alone:
    """One sequence, with the cache that it has by itself."""

    def __init__(self, length: int) -> None:
        self.cache = PackedKVCache(32, 8)
        if length:
            self.cache.update_and_fetch(*rows(1, length))


def rows(count: int, length: int) -> tuple[mx.array, mx.array]:
    keys = mx.random.normal((count, HEADS, length, WIDTH))
    return keys, mx.random.normal((count, HEADS, length, WIDTH // 2))


def fed(batch: BatchPackedKVCache, sequences: list[Alone], lengths: list[int]) -> None:
    """Feed each sequence so many rows, padded on the right to the longest."""
    longest = max(lengths)
    keys, values = rows(len(sequences), longest)
    if min(lengths) < longest:
        batch.prepare(lengths=lengths, right_padding=[longest - length for length in lengths])
    batch.update_and_fetch(keys, values)
    batch.finalize()
    for row, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
        sequence.cache.update_and_fetch(keys[row : row + 1, :, :length], values[row : row + 1, :, :length])


def check(batch: BatchPackedKVCache, sequences: list[Alone]) -> None:
    assert batch.offset.tolist() == [sequence.cache.offset for sequence in sequences]
    for row, sequence in enumerate(sequences):
        expected = arrays_of(sequence.cache.keys_and_values())
        for alone in (extract_row(batch, row, sequence.cache.offset), batch.extract(row)):
            assert alone.offset == sequence.cache.offset
            parts = zip(arrays_of(alone.keys_and_values()), expected, strict=True)
            assert all(mx.array_equal(part, other) for part, other in parts)


@pytest.mark.parametrize("seed", range(4))
def test_who_joins_and_leaves_changes_nothing_of_the_others(seed: int) -> None:
    mx.random.seed(seed)
    drawn = random.Random(seed)
    sequences = [Alone(drawn.choice([0, 0, 7, 300])) for _ in range(3)]
    batch = PackedKVCache.merge([sequence.cache for sequence in sequences])
    for _ in range(6):
        fed(batch, sequences, [drawn.randint(2, 9) for _ in sequences])
        for _ in range(drawn.randint(1, 3)):
            fed(batch, sequences, [1] * len(sequences))
        check(batch, sequences)
        more = [Alone(drawn.choice([0, 40, 600])) for _ in range(drawn.randint(1, 2))]
        batch.extend(PackedKVCache.merge([sequence.cache for sequence in more]))
        sequences += more
        kept = sorted(drawn.sample(range(len(sequences)), k=min(3, len(sequences))))
        batch.filter(kept)
        sequences = [sequences[row] for row in kept]
    assert batch.nbytes == sum(part.nbytes for part in arrays_of((batch.keys, batch.values)))


@pytest.mark.parametrize("bits", [4, 8])
def test_networks_compute_them_together(bits: int) -> None:
    network = make_network(num_attention_heads=4, num_key_value_heads=2, head_dim=32)
    assert find_batching(network, layer_maker(network, CacheSettings(kv_bits=bits)), VOCAB) == "prompts"
