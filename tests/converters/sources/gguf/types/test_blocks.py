"""Blocks become MLX groups with nothing lost but, for two types, one float16 rounding of scale and bias."""

from __future__ import annotations

import gguf
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm_converters.sources.gguf.types.blocks import PACKINGS, pack_codes
from edgelm_converters.sources.gguf.types.kinds import Kind, block_bytes, values_per_block

ROWS, WIDTH = 24, 512
ROUNDED = (Kind.Q4_K, Kind.Q5_K)
"""Types that multiply two scales: float16 does not hold every product."""
EXACT = sorted(set(PACKINGS) - set(ROUNDED))


def named(kind):
    return kind.name


def repacked(raw, kind, dtype):
    """The values that MLX makes of a repacked tensor whose scales and biases are kept in `dtype`."""
    packing = PACKINGS[kind]
    codes, *factors = packing.split(raw.reshape(-1, block_bytes(kind)))
    weight = mx.array(pack_codes(codes.reshape(ROWS, -1), packing.bits))
    if packing.mode == "affine":
        factors = [part.astype(dtype).astype(np.float32) for part in factors]
    factors = [mx.array(part.reshape(ROWS, -1)) for part in factors]
    biases = factors[1] if len(factors) > 1 else None
    return np.array(
        mx.dequantize(
            weight, factors[0], biases, packing.group_size, packing.bits, packing.mode, dtype=mx.float32
        )
    )


def of_ggml(raw, kind):
    """What ggml makes of it: gguf's own reading, or for types that gguf lacks ggml-quants.c's, value by value."""
    if kind not in (Kind.Q1_0, Kind.Q2_0):
        return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind))
    values = []
    for block in raw.reshape(-1, block_bytes(kind)):
        d, qs = np.float32(block[:2].view(np.float16)[0]), block[2:]
        for j in range(values_per_block(kind)):
            if kind is Kind.Q1_0:
                values.append(d if (qs[j // 8] >> (j % 8)) & 1 else -d)
            else:
                values.append((int((qs[j // 4] >> (j % 4 * 2)) & 3) - 1) * d)
    return np.array(values, np.float32).reshape(ROWS, -1)


@pytest.mark.parametrize("kind", PACKINGS, ids=named)
def test_in_float32_the_values_are_those_of_ggml(kind, blocks):
    raw = blocks(kind, ROWS, WIDTH)
    expected = of_ggml(raw, kind)
    np.testing.assert_allclose(
        repacked(raw, kind, np.float32), expected, rtol=0, atol=4e-7 * abs(expected).max()
    )


@pytest.mark.parametrize("kind", EXACT, ids=named)
def test_types_with_one_scale_lose_nothing(kind, blocks):
    raw = blocks(kind, ROWS, WIDTH)
    np.testing.assert_array_equal(repacked(raw, kind, np.float16), of_ggml(raw, kind))


@pytest.mark.parametrize("kind", ROUNDED, ids=named)
def test_k_types_round_scale_and_bias_once(kind, blocks):
    raw = blocks(kind, ROWS, WIDTH)
    _, scales, biases = PACKINGS[kind].split(raw.reshape(-1, block_bytes(kind)))
    # Half a unit in the last place of float16, and half its smallest step.
    step = 2.0**-11
    largest = (1 << PACKINGS[kind].bits) - 1
    bound = (abs(scales) * largest + abs(biases)) * step + (largest + 1) * 2.0**-25
    error = abs(repacked(raw, kind, np.float16) - of_ggml(raw, kind)).reshape(-1, 32)
    assert (error <= bound.reshape(-1, 1) * 1.001).all()


@pytest.mark.parametrize(
    "kind",
    [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0, Kind.TQ1_0, Kind.TQ2_0, Kind.MXFP4],
    ids=named,
)
def test_weights_quantized_by_gguf_come_back_as_gguf_has_them(kind):
    values = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)
    raw = gguf.quants.quantize(values, gguf.GGMLQuantizationType(kind))
    np.testing.assert_array_equal(repacked(raw, kind, np.float16), of_ggml(raw, kind))


def test_every_exponent_of_mxfp4_means_the_same_to_ggml_and_mlx():
    """Down to the two whose half is no normal float32; the largest have values that float32 does not hold."""
    exponents = np.arange(0, 253, dtype=np.uint8)
    raw = np.concatenate(
        [exponents[:, None], np.random.default_rng(1).integers(0, 256, (253, 16), np.uint8)], axis=1
    )
    codes, scales = PACKINGS[Kind.MXFP4].split(raw)
    found = mx.dequantize(
        mx.array(pack_codes(codes, 4)), mx.array(scales), None, 32, 4, "mxfp4", dtype=mx.float32
    )
    np.testing.assert_array_equal(
        np.array(found), gguf.quants.dequantize(raw, gguf.GGMLQuantizationType.MXFP4)
    )


def test_the_types_are_numbered_as_gguf_numbers_them():
    for kind in gguf.GGMLQuantizationType:
        assert Kind[kind.name].value == kind.value
        assert gguf.GGML_QUANT_SIZES[kind] == (values_per_block(Kind(kind)), block_bytes(Kind(kind)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(bits=st.sampled_from([1, 2, 3, 4, 5, 6, 8]), seed=st.integers(0, 1000))
def test_packed_codes_are_the_bit_stream_that_mlx_reads(bits, seed):
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (3, 64), dtype=np.uint8)
    ones, zeros = mx.ones((3, 2)), mx.zeros((3, 2))
    read = mx.dequantize(mx.array(pack_codes(codes, bits)), ones, zeros, group_size=32, bits=bits)
    np.testing.assert_array_equal(np.array(read), codes)
