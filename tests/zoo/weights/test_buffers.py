"""What lies beside the weights is passed over, and what only looks like them is refused by name."""

from __future__ import annotations

import mlx.core as mx
import pytest

from edgelm.errors import FormatError
from edgelm.zoo.weights.buffers import buffers_in, refuse_other_types

KNOWN = {"a.weight": mx.zeros((4, 4)), "a.scales": mx.zeros((4, 1)), "b.weight": mx.zeros((4, 4), mx.uint32)}


@pytest.mark.parametrize(
    ("name", "value", "is_buffer"),
    [
        ("embeddings.position_ids", mx.arange(4), True),
        ("layers.0.attn.bias", mx.ones((1, 1, 4, 4), mx.bool_), True),
        ("norm.num_batches_tracked", mx.array(3), True),
        ("layers.0.attn.masked_bias", mx.array(-1e4), True),
        ("layers.0.rotary_emb.inv_freq", mx.ones(4), True),
        ("extra.weight", mx.ones((4, 4)), False),
        ("layers.0.attn.bias", mx.ones(4), False),
        ("b.weight", mx.zeros((4, 4), mx.uint32), False),
    ],
)
def test_buffers_are_told_from_weights(name: str, value: mx.array, is_buffer: bool) -> None:
    assert buffers_in({name: value, "a.weight": KNOWN["a.weight"]}, KNOWN) == ([name] if is_buffer else [])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("a.weight", mx.ones((4, 4), mx.int64), "'a.weight' is int64, expected floats"),
        ("a.weight", mx.ones((4, 4), mx.bool_), "'a.weight' is bool, expected floats"),
        ("b.weight", mx.ones((4, 4)), "'b.weight' is float32, expected integers"),
    ],
)
def test_weights_of_other_types_are_refused(name: str, value: mx.array, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        refuse_other_types({name: value}, KNOWN)


def test_halves_and_small_codes_are_weights() -> None:
    refuse_other_types(
        {"a.weight": mx.ones((4, 4), mx.bfloat16), "b.weight": mx.ones((4, 4), mx.uint8)}, KNOWN
    )
