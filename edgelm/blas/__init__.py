"""The BLAS that MLX multiplies with on Linux CPUs: which library, with which kernels, and by which routine.

Nothing here happens on macOS, where MLX uses Accelerate. Knows nothing about MLX, models and devices.
"""

from edgelm.blas.kernels import core_for, processor_flags
from edgelm.blas.library import OPENBLAS, blas_threads, core_type, has_row_products, preload_blas

__all__ = [
    "OPENBLAS", "blas_threads", "core_for", "core_type", "has_row_products", "preload_blas", "processor_flags",
]  # fmt: skip
