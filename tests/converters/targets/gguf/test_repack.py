"""Packed groups as ggml's blocks, against what MLX makes of the same groups."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from edgelm_converters.sources.gguf.types.blocks import pack_codes
from edgelm_converters.sources.gguf.types.kinds import Kind
from edgelm_converters.targets.gguf.blocks.codes import unpack_codes
from edgelm_converters.targets.gguf.blocks.registry import decoded
from edgelm_converters.targets.gguf.blocks.repack import PackedRows, block_form, repacked, rounding_error

ROWS, WIDTH = 6, 256


def packed(bits: int, group: int, dtype: mx.Dtype = mx.float16, *, centred: bool = False) -> PackedRows:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, (ROWS, WIDTH)).astype(np.uint8)
    scales = mx.array(rng.uniform(0.01, 0.1, (ROWS, WIDTH // group))).astype(dtype)
    biases = (
        -(2 ** (bits - 1)) * scales if centred else mx.array(rng.normal(0, 0.5, scales.shape)).astype(dtype)
    )
    words = np.asarray(mx.array(pack_codes(codes, bits)))
    settings = {"bits": bits, "group_size": group, "mode": "affine"}
    return PackedRows(words, *(np.asarray(each.astype(mx.float32)) for each in (scales, biases)), settings)


def values(rows: PackedRows) -> np.ndarray:
    parts = (mx.array(each) for each in (rows.words, rows.scales, rows.biases))
    return np.asarray(mx.dequantize(*parts, rows.group, rows.bits, dtype=mx.float32))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_unpacked_codes_are_those_that_were_packed(bits):
    codes = np.random.default_rng(0).integers(0, 2**bits, (5, 96)).astype(np.uint8)
    np.testing.assert_array_equal(unpack_codes(pack_codes(codes, bits), bits), codes)


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize(
    ("bits", "centred", "kind"),
    [
        (2, False, Kind.Q4_1),
        (3, False, Kind.Q4_1),
        (4, False, Kind.Q4_1),
        (5, False, Kind.Q5_1),
        (4, True, Kind.Q4_0),
        (5, True, Kind.Q5_0),
        (6, True, Kind.Q8_0),
        (8, True, Kind.Q8_0),
    ],
)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_codes_move_bit_for_bit(bits, centred, kind, group, dtype):
    rows = packed(bits, group, dtype, centred=centred)
    assert block_form(rows.settings, WIDTH, rows.scales, rows.biases) == kind
    np.testing.assert_array_equal(decoded(repacked(rows, kind), kind), values(rows))
    assert rounding_error(rows)[0] == 0


def test_free_groups_of_eight_bits_have_no_form():
    rows = packed(8, 64)
    assert block_form(rows.settings, WIDTH, rows.scales, rows.biases) is None


def test_scales_that_float16_cannot_hold_are_rounded_and_told():
    rows = packed(4, 64, mx.float32)
    again, before = decoded(repacked(rows, Kind.Q4_1), Kind.Q4_1), values(rows)
    lost, power = rounding_error(rows)
    assert 0 < lost / power < 1e-6
    assert lost == pytest.approx(np.square(again - before, dtype=np.float64).sum(), rel=1e-3)


@pytest.mark.parametrize(("mode", "group", "kind"), [("mxfp4", 32, Kind.MXFP4), ("nvfp4", 16, Kind.NVFP4)])
def test_shared_exponents_move_bit_for_bit(mode, group, kind):
    weight = mx.array(np.random.default_rng(3).normal(0, 0.05, (ROWS, WIDTH)).astype(np.float32))
    words, scales = mx.quantize(weight, group, 4, mode)
    settings = {"bits": 4, "group_size": group, "mode": mode}
    rows = PackedRows(np.asarray(words), np.asarray(scales), None, settings)
    assert block_form(settings, WIDTH, None, None) == kind
    expected = np.asarray(mx.dequantize(words, scales, None, group, 4, mode, dtype=mx.float32))
    np.testing.assert_array_equal(decoded(repacked(rows, kind), kind), expected)


def test_nvfp4_needs_rows_of_whole_blocks():
    assert block_form({"bits": 4, "group_size": 16, "mode": "nvfp4"}, 96, None, None) is None
