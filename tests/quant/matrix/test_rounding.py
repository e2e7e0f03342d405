"""Rounding by vectors gives the bits of `mx.quantize`, or is not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from edgelm.blas.compiler import find_compiler
from edgelm.quant.matrix import rounding
from edgelm.quant.matrix.formats import rounded
from edgelm.quant.matrix.rounding import vector_rounding

needs_compiler = pytest.mark.skipif(
    find_compiler() is None or mx.default_device() != mx.Device(mx.cpu), reason="needs g++ and MLX on the CPU"
)


def affine(bits: int, group_size: int) -> dict[str, Any]:
    return {"bits": bits, "group_size": group_size, "mode": "affine"}


def bits_of(array: mx.array) -> bytes:
    return bytes(memoryview(array.reshape(-1).view(mx.uint8)))  # type: ignore[arg-type]


@needs_compiler
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_the_bits_are_those_of_mlx(bits: int) -> None:
    mx.random.seed(bits)
    weight = mx.random.normal((2, 20, 256)) * mx.exp(mx.random.normal((2, 20, 1)) * 8)
    for dtype in (mx.bfloat16, mx.float32):
        for group_size in (32, 64, 128):
            settings = affine(bits, group_size)
            at_once = vector_rounding(settings, dtype)
            assert at_once is not None
            made, own = at_once(weight.astype(dtype)), rounded(weight.astype(dtype), settings)
            for kind, array in own.items():
                assert made[kind].shape == array.shape
                assert made[kind].dtype == array.dtype
                assert bits_of(made[kind]) == bits_of(array), (kind, dtype, group_size)


@needs_compiler
def test_rows_that_lie_apart_are_rounded_as_they_read() -> None:
    weight = mx.random.normal((64, 6)).T
    at_once = vector_rounding(affine(4, 64), mx.float32)
    assert at_once is not None
    assert bits_of(at_once(weight)["weight"]) == bits_of(rounded(weight, affine(4, 64))["weight"])


def test_what_there_is_no_routine_for_is_left_to_mlx() -> None:
    assert vector_rounding({"bits": 4, "group_size": 32, "mode": "mxfp4"}, mx.bfloat16) is None
    assert vector_rounding(affine(4, 64), mx.float16) is None


@needs_compiler
def test_a_library_that_rounds_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    own = rounding._rounded

    def off_by_one(*given: Any) -> dict[str, mx.array]:
        made = own(*given)
        return {**made, "weight": made["weight"] + 1}

    monkeypatch.setattr(rounding, "_rounded", off_by_one)
    rounding._checked.cache_clear()
    assert vector_rounding(affine(4, 64), mx.bfloat16) is None
    rounding._checked.cache_clear()


def test_without_a_compiler_mlx_rounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    for cached in (rounding._library, rounding._checked):
        cached.cache_clear()
    assert vector_rounding(affine(4, 64), mx.bfloat16) is None
    for cached in (rounding._library, rounding._checked):
        cached.cache_clear()
