"""What a layer's inputs say about its weights: the matrix in which an error of the weights is measured.

For inputs X [T, C] the layer's output error for a weight error D [R, C] is |X Dᵀ|² = tr(D H Dᵀ) with H = XᵀX. A
`Curvature` is that H, damped, in the column order and with the factor that GPTQ needs. Works in float64 on
the CPU through LAPACK: a Hessian of real activations has a condition number beyond float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

DAMPING = 0.05
"""Share of the mean diagonal added to it. 1% (the paper's) overfits narrow calibration text."""

HALF = 0.5
"""How far weights are moved towards undoing the error of the layers before (GPTAQ moves them all the way)."""


@dataclass(frozen=True)
class Curvature:
    """H of one group of layers that share their input."""

    matrix: mx.array
    """[C, C] in float32, damped, mean diagonal 1, columns in the original order."""
    order: mx.array
    """[C]: the columns from the largest diagonal to the smallest (GPTQ's "activation order")."""
    factor: mx.array
    """[C, C] upper triangular U in that order, with UᵀU = H⁻¹."""
    importance: mx.array
    """[C]: the undamped diagonal, E[x²] up to a factor."""

    def loss(self, error: mx.array) -> mx.array:
        """D H Dᵀ row by row, for weight errors D [R, C]: [R]."""
        return ((error @ self.matrix) * error).sum(axis=-1)


def curvature(hessian: mx.array, damping: float = DAMPING) -> Curvature:
    """Damp, order and factor a sum H = XᵀX [C, C] of float32.

    A column without any input gets the damping alone, so that its weights are merely rounded.
    """
    full = np.array(hessian, dtype=np.float64)
    diagonal = np.diagonal(full).copy()
    mean = diagonal.mean()
    scale = mean if mean > 0 else 1.0
    full /= scale
    full[np.diag_indices_from(full)] += damping if mean > 0 else 1.0
    order = np.argsort(-diagonal, kind="stable")
    factor = _inverse_factor(full[np.ix_(order, order)])
    return Curvature(
        mx.array(full.astype(np.float32)),
        mx.array(order.astype(np.uint32)),
        mx.array(factor.astype(np.float32)),
        mx.array((diagonal / scale).astype(np.float32)),
    )


def _inverse_factor(matrix: np.ndarray) -> np.ndarray:
    """Upper triangular U with UᵀU = matrix⁻¹, without forming the inverse.

    A Cholesky factor of the matrix with rows and columns reversed is, reversed again, an upper A with A Aᵀ =
    matrix; U is A⁻¹.
    """
    lower = np.linalg.cholesky(matrix[::-1, ::-1])
    return np.triu(np.linalg.inv(lower[::-1, ::-1]))


def alignment(hessian: mx.array, cross: mx.array, damping: float = DAMPING) -> mx.array | None:
    """M [C, C] such that W + W M gives, on the quantized model's inputs, outputs half-way to the source's.

    M = ½ (C − H)(H + damping)⁻¹ with H = X̂ᵀX̂ and C = XᵀX̂, X from the source and X̂ from the model quantized so
    far. Moved all the way it overfits the calibration text; not at all, the errors of layers add up.
    Source: asymmetric calibration, arXiv:2504.02692 (GPTAQ) and arXiv:2505.11695 (Qronos); the half is measured.

    Returns:
        None where there were no inputs.
    """
    full, drift = np.array(hessian, dtype=np.float64), np.array(cross - hessian, dtype=np.float64)
    mean = np.diagonal(full).mean()
    if mean <= 0:
        return None
    full[np.diag_indices_from(full)] += damping * mean
    # Solved from the right: M (H + d) = ½ (C − H), and H is symmetric.
    return mx.array((HALF * np.linalg.solve(full, drift.T).T).astype(np.float32))
