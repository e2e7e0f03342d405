"""How fast this machine multiplies, reads memory and computes element by element, measured in about a second.

A prefill is bound by the first, a decoder by the second, training by the first and the third. Figures are of MLX's
default device, in float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import mlx.core as mx

_SIDE = 1024
_GPU_SIDE = 4096
"""A product of 1024 takes a GPU as long as it takes to start it."""
_READ_BYTES = 1 << 28
"""Far beyond any cache."""
_REPEATS = 8


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of what training does, each measured alone."""

    flops_per_s: float
    moved_bytes_per_s: float
    """Read and written by the simplest operation on every element."""
    exponentials_per_s: float

    def seconds(self, *, flops: float, moved_bytes: float = 0, exponentials: float = 0) -> float:
        """Return how long these take, one after the other."""
        return (
            flops / self.flops_per_s
            + moved_bytes / self.moved_bytes_per_s
            + exponentials / self.exponentials_per_s
        )


@cache
def measure_rates() -> Rates:
    """Measure this machine, in about a second; later calls get what the first measured."""
    values = _ones(3 * _SIDE)  # beyond the caches, where activations are
    moved_s = _fastest_s(lambda: values + values[0])
    exponential_s = max(_fastest_s(lambda: mx.exp(values)) - moved_s, moved_s / 100)
    return Rates(measure_matmul_flops_per_s(), 2 * values.nbytes / moved_s, values.size / exponential_s)


def measure_matmul_flops_per_s() -> float:
    """Floating-point operations per second of a square matrix product."""
    side = _SIDE if mx.default_device() == mx.Device(mx.cpu) else _GPU_SIDE
    left, right = _ones(side), _ones(side)
    return 2 * side**3 / _fastest_s(lambda: left @ right)


def measure_half_flops_per_s(dtype: mx.Dtype) -> float:
    """Return the same in half precision; of a smaller product on a CPU, where MLX computes it without a BLAS."""
    side = _SIDE // 8 if mx.default_device() == mx.Device(mx.cpu) else _GPU_SIDE
    left, right = _ones(side, dtype), _ones(side, dtype)
    return 2 * side**3 / _fastest_s(lambda: left @ right)


def measure_round_trip_s() -> float:
    """Return the seconds from asking for one number to having it: what every wait for the device costs."""
    one = mx.ones((1,), dtype=mx.float32)
    mx.eval(one)
    return _fastest_s(lambda: one + one)


def measure_read_bytes_per_s() -> float:
    """Return the bytes per second of matrices that a vector is multiplied by, one after the other, as in decoding."""
    # Of a small model's width on the CPU (wider ones are slower there); wide enough to fill a GPU elsewhere.
    side = _SIDE if mx.default_device() == mx.Device(mx.cpu) else 4 * _SIDE
    matrices = [_ones(side) for _ in range(_READ_BYTES // (4 * side * side))]
    vector = matrices[0][:1]

    def decode() -> mx.array:
        hidden = vector
        for matrix in matrices:
            hidden = hidden @ matrix.T
        return hidden

    return sum(matrix.nbytes for matrix in matrices) / _fastest_s(decode)


def _ones(side: int, dtype: mx.Dtype = mx.float32) -> mx.array:
    array = mx.ones((side, side), dtype=dtype)
    mx.eval(array)
    return array


def _fastest_s(compute: Callable[[], mx.array]) -> float:
    """Return the fastest of several runs after one to warm up: what is slower was disturbed."""
    mx.eval(compute())
    return min(_time_s(compute) for _ in range(_REPEATS))


def _time_s(compute: Callable[[], mx.array]) -> float:
    started = time.perf_counter()
    mx.eval(compute())
    return time.perf_counter() - started
