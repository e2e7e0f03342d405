"""Packing and grids agree with MLX's own, bit for bit."""

from __future__ import annotations

import mlx.core as mx
import pytest

from edgelm.quant.matrix.affine import Grid, pack, plain_grid
from edgelm.quant.scheme import AFFINE_BITS, AFFINE_GROUPS


@pytest.mark.parametrize("bits", AFFINE_BITS)
@pytest.mark.parametrize("group_size", AFFINE_GROUPS)
def test_what_is_packed_is_what_mlx_unpacks(bits: int, group_size: int) -> None:
    mx.random.seed(bits)
    codes = mx.random.randint(0, 2**bits, (7, 256)).astype(mx.float32)
    shape = (7, 256 // group_size)
    grid = Grid(bits, group_size, mx.float32, mx.random.uniform(shape=shape) + 0.1, mx.random.normal(shape))
    packed = grid.packed(codes)
    unpacked = mx.dequantize(packed["weight"], packed["scales"], packed["biases"], group_size, bits)
    assert mx.allclose(unpacked, grid.decode(codes), atol=1e-4)


@pytest.mark.parametrize("bits", AFFINE_BITS)
def test_the_plain_grid_gives_mlx_its_own_codes(bits: int) -> None:
    mx.random.seed(1)
    weight = mx.random.normal((16, 128))
    own, scales, biases = mx.quantize(weight, 32, bits)
    packed = (grid := plain_grid(weight, bits, 32, mx.float32)).packed(grid.encode(weight))
    assert mx.array_equal(packed["weight"], own)
    assert mx.array_equal(packed["scales"], scales)
    assert mx.array_equal(packed["biases"], biases)


def test_scales_are_rounded_to_their_type_before_codes_are_chosen() -> None:
    weight = mx.random.normal((8, 64))
    grid = plain_grid(weight, 4, 64, mx.bfloat16)
    packed = grid.packed(grid.encode(weight))
    assert packed["scales"].dtype == mx.bfloat16
    assert mx.array_equal(packed["scales"].astype(mx.float32), grid.scales)
    steps = mx.abs(weight - grid.decode(grid.encode(weight))) / mx.abs(grid.scales)
    inside = grid.encode(weight)
    assert (mx.where((inside > 0) & (inside < 15), steps, 0).max() <= 0.501).item()


def test_stacks_are_packed_along_their_rows() -> None:
    codes = mx.random.randint(0, 8, (3, 5, 64)).astype(mx.uint32)
    assert mx.array_equal(pack(codes, 3)[1], pack(codes[1], 3))
