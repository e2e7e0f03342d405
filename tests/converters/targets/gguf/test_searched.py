"""Values as blocks, against llama.cpp's own rounding to nearest."""

from __future__ import annotations

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quantize

from edgelm_converters.exports.types import CHOICES
from edgelm_converters.sources.gguf.types.kinds import Kind, block_bytes
from edgelm_converters.targets.gguf.blocks.registry import ENCODERS, decoded
from edgelm_converters.targets.gguf.choice import CHOICES as KNOWN

WEIGHTS = np.random.default_rng(7).normal(0, 0.05, (16, 256)).astype(np.float32)
ROUNDED = [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0]


def error(raw: np.ndarray, kind: Kind, weights: np.ndarray | float = 1.0) -> float:
    return float((weights * np.square(decoded(raw, kind) - WEIGHTS)).sum())


@pytest.mark.parametrize("kind", ROUNDED)
def test_no_type_loses_more_than_rounding_to_nearest(kind):
    nearest = quantize(WEIGHTS, GGMLQuantizationType(kind))
    found = ENCODERS[kind](WEIGHTS, None)
    assert found.shape == nearest.shape
    assert error(found, kind) <= error(nearest, kind) * (1.001 if kind == Kind.Q8_0 else 0.97)


@pytest.mark.parametrize("kind", [*ROUNDED, Kind.IQ4_NL, Kind.F32, Kind.F16, Kind.BF16])
def test_blocks_are_read_as_llama_cpp_reads_them(kind):
    raw = ENCODERS[kind](WEIGHTS, None)
    np.testing.assert_allclose(
        decoded(raw, kind), dequantize(raw, GGMLQuantizationType(kind)), rtol=1e-6, atol=1e-7
    )


def test_iq4_nl_is_closer_than_q4_0():
    assert error(ENCODERS[Kind.IQ4_NL](WEIGHTS, None), Kind.IQ4_NL) < error(
        ENCODERS[Kind.Q4_0](WEIGHTS, None), Kind.Q4_0
    )


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.IQ4_NL])
def test_columns_that_matter_are_kept_closer(kind):
    importance = np.ones(256, np.float32)
    importance[::8] = 50.0
    plain, weighted = ENCODERS[kind](WEIGHTS, None), ENCODERS[kind](WEIGHTS, importance)
    assert error(weighted, kind, importance) < error(plain, kind, importance)


@pytest.mark.parametrize("kind", [*ROUNDED, Kind.IQ4_NL])
def test_zeros_and_constants_stay_what_they_are(kind):
    values = np.zeros((2, 64), np.float32)
    values[1] = 0.5
    again = decoded(ENCODERS[kind](values, None), kind)
    assert np.isfinite(again).all()
    np.testing.assert_allclose(again, values, atol=0.02)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16])
def test_halves_round_to_even(kind):
    values = np.asarray([[1.0, 1 + 2**-9, 1 + 3 * 2**-9, -1e-3, 65504.0, np.pi]], np.float32)
    import mlx.core as mx

    dtype = mx.float16 if kind == Kind.F16 else mx.bfloat16
    expected = np.asarray(mx.array(values).astype(dtype).astype(mx.float32))
    np.testing.assert_array_equal(decoded(ENCODERS[kind](values, None), kind), expected)
    assert block_bytes(kind) == 2


def test_help_names_the_types_that_there_are():
    assert set(CHOICES) == set(KNOWN)
