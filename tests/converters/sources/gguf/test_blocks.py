"""Blocks become MLX groups with nothing lost but one float16 rounding of scale and bias."""

from __future__ import annotations

import gguf
import mlx.core as mx
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm_converters.sources.gguf.blocks import PACKINGS, pack_codes

ROWS, WIDTH = 24, 512


def repacked(raw, kind, dtype):
    """The values that MLX makes of a repacked tensor whose scales and biases are kept in `dtype`."""
    packing = PACKINGS[kind]
    codes, scales, biases = packing.split(raw.reshape(-1, gguf.GGML_QUANT_SIZES[kind][1]))
    halves = [mx.array(part.astype(dtype).reshape(ROWS, -1)).astype(mx.float32) for part in (scales, biases)]
    weight = mx.array(pack_codes(codes.reshape(ROWS, -1), packing.bits))
    return np.array(mx.dequantize(weight, *halves, group_size=32, bits=packing.bits))


@pytest.mark.parametrize("kind", PACKINGS, ids=lambda kind: kind.name)
def test_in_float32_the_values_are_those_of_gguf(kind, blocks):
    raw = blocks(kind, ROWS, WIDTH)
    expected = gguf.quants.dequantize(raw, kind)
    np.testing.assert_allclose(
        repacked(raw, kind, np.float32), expected, rtol=0, atol=4e-7 * abs(expected).max()
    )


@pytest.mark.parametrize(
    "kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0], ids=lambda kind: kind.name
)
def test_types_with_a_float16_scale_lose_nothing_in_float16(kind, blocks):
    raw = blocks(kind, ROWS, WIDTH)
    np.testing.assert_array_equal(repacked(raw, kind, np.float16), repacked(raw, kind, np.float32))


@pytest.mark.parametrize("kind", [Kind.Q4_K, Kind.Q5_K], ids=lambda kind: kind.name)
def test_k_types_round_scale_and_bias_once(kind, blocks):
    raw = blocks(kind, ROWS, WIDTH)
    _, scales, biases = PACKINGS[kind].split(raw.reshape(-1, gguf.GGML_QUANT_SIZES[kind][1]))
    # Half a unit in the last place of float16, and half its smallest step.
    step = 2.0**-11
    largest = (1 << PACKINGS[kind].bits) - 1
    bound = (abs(scales) * largest + abs(biases)) * step + (largest + 1) * 2.0**-25
    error = abs(repacked(raw, kind, np.float16) - gguf.quants.dequantize(raw, kind)).reshape(-1, 32)
    assert (error <= bound.reshape(-1, 1) * 1.001).all()


@pytest.mark.parametrize(
    "kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0], ids=lambda kind: kind.name
)
def test_weights_quantized_by_gguf_come_back_as_gguf_has_them(kind):
    values = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)
    raw = gguf.quants.quantize(values, kind)
    np.testing.assert_allclose(
        repacked(raw, kind, np.float16), gguf.quants.dequantize(raw, kind), rtol=0, atol=2e-6
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(bits=st.sampled_from([2, 3, 4, 5, 6, 8]), seed=st.integers(0, 1000))
def test_packed_codes_are_the_bit_stream_that_mlx_reads(bits, seed):
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (3, 64), dtype=np.uint8)
    ones, zeros = mx.ones((3, 2)), mx.zeros((3, 2))
    read = mx.dequantize(mx.array(pack_codes(codes, bits)), ones, zeros, group_size=32, bits=bits)
    np.testing.assert_array_equal(np.array(read), codes)
