"""Groups along a row: which of MLX's sizes hold them as they are.

MLX shares a scale among 32, 64 or 128 neighbouring inputs. A larger group becomes several of 128 with the same scale, and an
order of activations that keeps neighbours together becomes one group for each run. Anything else has no such form.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.quant.scheme import AFFINE_GROUPS, Settings

REQUANTIZED_BITS = {1: 5, 2: 5, 3: 5, 4: 6, 5: 8, 6: 8, 7: 8, 8: 8}
"""Bits of a source that MLX cannot hold → those that it is quantized to: two more, for a sixteenth of its squared error.

Five at least, since up to four would ask for calibration. Measured on Gaussian weights (256 x 1024), the total squared
error grows by 3% for NF4, 4% for GPTQ of 4 bits with an order of activations, 0 to 3% for its 2 and 3 bits, 1 to 6%
for HQQ along the outputs, 9% at most (groups of 16 at 4 bits); that of 8 bits, 3e-5 of the weights' own square, doubles."""


def group_of(columns: int, group_size: int) -> int | None:
    """Return the largest of MLX's groups that divides rows of `columns` in groups of `group_size`; None if none does."""
    return next((size for size in AFFINE_GROUPS if group_size % size == 0 and columns % size == 0), None)


def affine_settings(bits: int, group_size: int) -> Settings:
    """Return how a layer of such codes is described in `config.json`."""
    return {"group_size": group_size, "bits": bits, "mode": "affine"}


def requantized_settings(bits: int, columns: int) -> Settings | None:
    """Return what weights of `bits` are quantized to where MLX cannot hold their codes; None where no group fits."""
    group_size = next((size for size in (64, 32) if columns % size == 0), None)
    return affine_settings(REQUANTIZED_BITS[bits], group_size) if group_size else None


def runs(indices: npt.NDArray[np.integer]) -> tuple[int, npt.NDArray[np.integer]] | None:
    """Find runs of MLX's sizes in the group of every column.

    Args:
        indices: [C], the group of each column.

    Returns:
        The largest size whose runs lie within one group, and the group of each run; None if there is none.
    """
    for size in AFFINE_GROUPS:
        if len(indices) % size == 0:
            runs_of = indices.reshape(-1, size)
            if (runs_of == runs_of[:, :1]).all():
                return size, runs_of[:, 0]
    return None


def spread(values: mx.array, which: npt.NDArray[np.integer]) -> mx.array:
    """Repeat the columns of `values` [R, G] by `which` [G']: [R, G']."""
    count = values.shape[1]
    if len(which) == count and (which == np.arange(count)).all():
        return values
    return values[:, mx.array(which.astype(np.int32))]
