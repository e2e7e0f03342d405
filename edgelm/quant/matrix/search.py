"""The best scale and bias of every group, by search: of the weights alone, or weighted by how much each column matters.

Round-to-nearest spreads its codes from the smallest to the largest weight of a group. Narrower ranges
clip a few weights and represent the many better. Here ranges are tried whose ends are drawn in, first both
by the same share and then each on its own; the best is refined by least squares for (scale, bias) given
the codes; and everything is computed with the values that will be stored. `mx.quantize`'s own pair is always among the
candidates, so by the measure searched for (the weighted squared error) no group is worse than it.

With importance E[x²] per column the weighted error is the expected error of the layer's output if its inputs
were uncorrelated (llama.cpp's "importance matrix").
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import mlx.core as mx

from edgelm import device
from edgelm.quant.matrix.affine import Grid, nearest, plain_grid, stored

CHUNK_WEIGHTS = 1 << 18
"""Weights searched at once on a CPU, and 16 times as many on a GPU: bounds memory, and fits caches."""

SMALLEST_FLOAT16 = 2.0**-24
"""Subnormal, and exact as a float32."""

FLOOR = 1e-3
"""Importance given to a column that calibration never excited, relative to the mean."""

NARROWEST = {2: 0.4, 3: 0.58, 4: 0.74, 5: 0.84, 6: 0.9, 8: 0.96}
"""Bits → the smallest share of the range worth trying; narrower ones never won on real weights."""


@dataclass(frozen=True)
class Effort:
    """How hard to look."""

    points: int
    """Ranges tried with both ends drawn in by the same share."""
    apart: int
    """Steps to either side that each end is then moved on its own."""
    refits: int
    """Rounds of least squares."""
    levels: bool = False
    """Whether steps are tried at which a group has fewer levels than there are codes: what has been quantized before often
    lies on such a grid, and is met exactly."""


QUICK = Effort(points=4, apart=0, refits=2)
THOROUGH = Effort(points=7, apart=2, refits=3)
"""Within 1% of the error of all 49 pairs of ends, at a third of the time."""
DISCRETE = Effort(points=7, apart=2, refits=3, levels=True)
"""For weights that had a few values in the source."""


def search(
    weight: mx.array,
    bits: int,
    group_size: int,
    dtype: mx.Dtype,
    importance: mx.array | None = None,
    effort: Effort = THOROUGH,
) -> Grid:
    """Search the grid with the smallest weighted squared error for each group.

    Args:
        weight: [R, C] of float32.
        dtype: what scales and biases will be stored in.
        importance: [C], non-negative; None weighs all columns alike.
    """
    pace = device.current_pace()
    rows = max(1, pace.chunks * CHUNK_WEIGHTS // weight.shape[1])
    parts = []
    for start in range(0, weight.shape[0], rows):
        parts.append(_search(weight[start : start + rows], bits, group_size, dtype, importance, effort, pace))
        mx.eval(parts[-1].scales, parts[-1].biases)  # else what a chunk was made from would live on
    scales = mx.concatenate([part.scales for part in parts])
    biases = mx.concatenate([part.biases for part in parts])
    mx.eval(scales, biases)
    return Grid(bits, group_size, dtype, scales, biases)


def column_weights(importance: mx.array | None, columns: int) -> mx.array:
    """Scale importance [C] to a mean of about 1, never zero; uniform where none is known."""
    if importance is None:
        return mx.ones((columns,))
    mean = importance.mean()
    return mx.where(mean > 0, importance / mx.maximum(mean, 1e-30), 1.0) + FLOOR


def weighted_error(weight: mx.array, grid: Grid, importance: mx.array | None) -> mx.array:
    """Compute what `search` minimises: the weighted squared error of every group [R, G]."""
    weights = column_weights(importance, weight.shape[1]).reshape(1, -1, grid.group_size)
    error = (weight - grid.decode(grid.encode(weight))).reshape(*grid.scales.shape, grid.group_size)
    return (weights * error * error).sum(axis=-1)


def _search(
    weight: mx.array, bits: int, group_size: int, dtype: mx.Dtype, importance: mx.array | None, effort: Effort,
    pace: device.Pace,
) -> Grid:  # fmt: skip
    plain = plain_grid(weight, bits, group_size, dtype)
    groups = _Groups(weight, group_size, importance, dtype, 2**bits - 1, pace.candidates)
    best = groups.measured(plain.scales.reshape(-1), plain.biases.reshape(-1))
    step = (1 - NARROWEST[bits]) / (effort.points - 1)
    for index in range(effort.points):
        best = groups.better(best, groups.between(1 - step * index, 1 - step * index))
    for move in (m for m in range(-effort.apart, effort.apart + 1) if m):
        best = groups.better(best, groups.between(best.low + step * move, best.high))
    for move in (m for m in range(-effort.apart, effort.apart + 1) if m):
        best = groups.better(best, groups.between(best.low, best.high + step * move))
    for count in range(2, 2**bits) if effort.levels else ():
        best = groups.better(best, groups.spaced(count))
    for _ in range(effort.refits):
        best = groups.better(best, groups.refitted(best))
    shape = plain.scales.shape
    return Grid(bits, group_size, dtype, best.scales.reshape(shape), best.biases.reshape(shape))


@dataclass(frozen=True)
class _Candidate:
    """One choice for each of the N groups."""

    scales: mx.array  # [N]
    biases: mx.array  # [N]
    errors: mx.array  # [N]
    low: mx.array | float = 1.0
    """Share of the range below the mean that is kept, where the candidate came from a range. [N]"""
    high: mx.array | float = 1.0


class _Groups:
    """The N groups of one chunk, as columns: sums along the first axis are several times faster on a CPU."""

    def __init__(
        self, weight: mx.array, group_size: int, importance: mx.array | None, dtype: mx.Dtype, max_code: int,
        candidates: int,
    ) -> None:  # fmt: skip
        self._candidates, self._pending = candidates, 0
        self.values = mx.contiguous(weight.reshape(-1, group_size).T)  # [g, N]
        self.weights = self._spread(importance, weight.shape, group_size)  # [g, N], or None: all alike
        self.dtype, self.max_code = dtype, max_code
        self.mean = self.values.mean(axis=0)
        self.below = self.values.min(axis=0) - self.mean
        self.above = self.values.max(axis=0) - self.mean
        self.smallest = SMALLEST_FLOAT16 if dtype == mx.float16 else mx.finfo(dtype).smallest_normal
        self.total = self._weighted(mx.ones_like(self.values)).sum(axis=0)
        self.value_sum = self._weighted(self.values).sum(axis=0)
        if candidates == 1:
            mx.eval(self.values, self.below, self.above, self.mean, self.total, self.value_sum)

    @staticmethod
    def _spread(importance: mx.array | None, shape: tuple[int, ...], group_size: int) -> mx.array | None:
        if importance is None:
            return None
        weights = mx.broadcast_to(column_weights(importance, shape[1]), shape)
        return mx.contiguous(weights.reshape(-1, group_size).T)

    def between(self, low: mx.array | float, high: mx.array | float) -> _Candidate:
        """Return the codes spread over the range with its ends drawn in towards the mean."""
        scales = (self.above * high - self.below * low) / self.max_code
        return dataclasses.replace(self.measured(scales, self.mean + self.below * low), low=low, high=high)

    def spaced(self, count: int) -> _Candidate:
        """Return `count` levels spread over the whole range, and the codes beyond them unused."""
        return self.measured((self.above - self.below) / (count - 1), self.mean + self.below)

    def refitted(self, candidate: _Candidate) -> _Candidate:
        """Weighted least squares for scale and bias, given the candidate's codes."""
        codes = self._codes(candidate.scales, candidate.biases)
        weighted = self._weighted(codes)
        s_q, s_qq = weighted.sum(axis=0), (weighted * codes).sum(axis=0)
        s_qw = (weighted * self.values).sum(axis=0)
        determinant = self.total * s_qq - s_q * s_q
        solvable = determinant > 1e-6 * self.total * s_qq
        scales = (self.total * s_qw - s_q * self.value_sum) / mx.where(solvable, determinant, 1)
        scales = mx.where(solvable, scales, candidate.scales)
        return self.measured(scales, (self.value_sum - scales * s_q) / self.total)

    def measured(self, scales: mx.array, biases: mx.array) -> _Candidate:
        """Return the candidate as it would be stored, with its error."""
        scales, biases = stored(scales, self.dtype), stored(biases, self.dtype)
        scales = mx.where(scales == 0, self.smallest, scales)  # a constant group: the bias is all
        error = self.values - (self._codes(scales, biases) * scales + biases)
        errors = self._weighted(error * error).sum(axis=0)
        return _Candidate(scales, biases, mx.where(mx.isnan(errors), mx.inf, errors))

    def better(self, one: _Candidate, other: _Candidate) -> _Candidate:
        """Group by group the one with the smaller error; the first where they are equal."""
        wins = other.errors < one.errors
        chosen = _Candidate(
            mx.where(wins, other.scales, one.scales),
            mx.where(wins, other.biases, one.biases),
            mx.where(wins, other.errors, one.errors),
            mx.where(wins, other.low, one.low),
            mx.where(wins, other.high, one.high),
        )
        self._pending += 1
        if self._pending >= self._candidates:
            # Few at once, or every candidate's arrays would live together.
            mx.eval(*vars(chosen).values())
            self._pending = 0
        return chosen

    def _weighted(self, values: mx.array) -> mx.array:
        return values if self.weights is None else values * self.weights

    def _codes(self, scales: mx.array, biases: mx.array) -> mx.array:
        return nearest(self.values, scales, biases, self.max_code)
