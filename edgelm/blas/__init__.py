"""The BLAS that MLX multiplies with on Linux CPUs: which library, with which kernels, and by which routine.

Nothing here happens on macOS, where MLX uses Accelerate. Knows nothing about MLX, models and devices.
"""

from edgelm.blas.library import OPENBLAS, blas_threads, core_type, has_row_products, preload_blas

__all__ = ["OPENBLAS", "blas_threads", "core_type", "has_row_products", "preload_blas"]
