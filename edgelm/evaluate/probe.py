"""How fast this machine multiplies and reads memory, measured in a fraction of a second.

A decoder is bound by the second, a prefill by the first. Figures are of MLX's default device, in float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import mlx.core as mx

_SIDE = 1024
_READ_SIDE = 8192
"""A float32 matrix of this side is 268 MB, beyond any cache."""
_REPEATS = 3


def measure_matmul_flops_per_s() -> float:
    """Floating-point operations per second of a square matrix product."""
    left, right = _ones(_SIDE, _SIDE), _ones(_SIDE, _SIDE)
    return 2 * _SIDE**3 / _fastest_s(lambda: left @ right)


def measure_read_bytes_per_s() -> float:
    """Bytes of a matrix read per second while it multiplies a vector, as weights are when decoding."""
    matrix, vector = _ones(_READ_SIDE, _READ_SIDE), _ones(_READ_SIDE, 1)
    return matrix.nbytes / _fastest_s(lambda: matrix @ vector)


def _ones(rows: int, columns: int) -> mx.array:
    array = mx.ones((rows, columns), dtype=mx.float32)
    mx.eval(array)
    return array


def _fastest_s(compute: Callable[[], mx.array]) -> float:
    """Of a few runs after one to warm up: what is slower was disturbed."""
    mx.eval(compute())
    return min(_time_s(compute) for _ in range(_REPEATS))


def _time_s(compute: Callable[[], mx.array]) -> float:
    started = time.perf_counter()
    mx.eval(compute())
    return time.perf_counter() - started
