"""Loads OpenBLAS in front of the reference BLAS of MLX's Linux wheel, before MLX is first imported.

Two things are put right on the way, each only where it helps, and each dropped by itself where it cannot be had:
OpenBLAS's kernels for a processor that it does not know (`kernels.py`), and products with one row, which decoding
consists of (`row_products.py`).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from edgelm.blas.kernels import load_with_fitting_kernels
from edgelm.blas.row_products import forward_row_products, load_row_products

OPENBLAS = "libopenblas.so.0"


def preload_blas() -> bool:
    """Put OpenBLAS in front of MLX's own BLAS (110 against 7 GFLOP/s). Must precede the import of `mlx.core`.

    A no-op on macOS and when called again.

    Returns:
        Whether the BLAS that MLX will use is a fast one; False where OpenBLAS is not installed.
    """
    return sys.platform != "linux" or _openblas() is not None


def core_type() -> str | None:
    """Return the processor whose kernels OpenBLAS uses, as OpenBLAS calls it ("Haswell"); None without OpenBLAS."""
    library = _openblas() if sys.platform == "linux" else None
    if library is None:
        return None
    library.openblas_get_corename.restype = ctypes.c_char_p
    name: bytes = library.openblas_get_corename()
    return name.decode("ascii", "replace")


def has_row_products() -> bool:
    """Return whether products with one row go to the matrix-vector routine."""
    return sys.platform == "linux" and _openblas() is not None and _row_products_of_this_process() is not None


@lru_cache(maxsize=1)
def _openblas() -> ctypes.CDLL | None:
    """OpenBLAS, visible to what is loaded later; what stands in front of it is loaded first."""
    rows = _row_products_of_this_process()
    library = load_with_fitting_kernels(OPENBLAS)
    if rows is not None and library is not None:
        forward_row_products(rows, library)
    return library


@lru_cache(maxsize=1)
def _row_products_of_this_process() -> ctypes.CDLL | None:
    return load_row_products() if "mlx.core" not in sys.modules else None


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """While the block runs, OpenBLAS multiplies with so many threads; nothing where it is not there, or was told how many."""
    library = _openblas() if sys.platform == "linux" and "OPENBLAS_NUM_THREADS" not in os.environ else None
    if library is None:
        yield
        return
    before = library.openblas_get_num_threads()
    library.openblas_set_num_threads(count)
    try:
        yield
    finally:
        library.openblas_set_num_threads(before)
