"""What this machine is, and what MLX needs of it before it is imported.

`preload_blas` must run before `mlx.core` is first imported: packages that import MLX call it from
their `__init__`. Knows nothing about models.
"""

from __future__ import annotations

import ctypes
import sys


def preload_blas() -> None:
    """On Linux, put OpenBLAS in front of the reference BLAS in MLX's wheel (110 against 7 GFLOP/s).

    A no-op where there is none, on macOS, and when called again. Must precede the import of `mlx.core`.
    """
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL("libopenblas.so.0", mode=ctypes.RTLD_GLOBAL)
    except OSError:  # not installed: slower, and `edgelm doctor` says so
        return
