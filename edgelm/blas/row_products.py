"""Sends products with one row to `cblas_sgemv`, by a library of a few lines in front of the BLAS (`row_products.c`).

It is compiled once, with the compiler that MLX's CPU backend wants anyway for `mx.compile`, and kept in the cache folder.
Without a compiler, or with one that fails, everything goes to the general routine as before: slower, and right.
`EDGELM_ROW_PRODUCTS=0` turns it off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

from edgelm import log, paths
from edgelm.blas.compiler import find_compiler

_FLAGS = ("-O2", "-shared", "-fPIC", "-x", "c")
_COMPILING_S = 60


def load_row_products() -> ctypes.CDLL | None:
    """Load the library so that it is found before any BLAS that is loaded later; None where it cannot be had.

    What it defines may not be called before `forward_row_products`.
    """
    if os.environ.get("EDGELM_ROW_PRODUCTS") == "0":
        return None
    path = _compiled()
    if path is None:
        return None
    try:
        # Privately first: a library that is no good must not have been put in front of a BLAS.
        ctypes.CDLL(str(path)).edgelm_forward  # noqa: B018
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except (OSError, AttributeError) as error:
        log.logger.info("products with one row stay in the general routine: %s", error)
        return None


def forward_row_products(rows: ctypes.CDLL, blas: ctypes.CDLL) -> None:
    """Tell the library which BLAS stands behind it."""
    rows.edgelm_forward(
        ctypes.cast(blas.cblas_sgemm, ctypes.c_void_p), ctypes.cast(blas.cblas_sgemv, ctypes.c_void_p)
    )


def _compiled() -> Path | None:
    """The compiled library, from the cache folder where it was compiled before."""
    source = files("edgelm.blas").joinpath("row_products.c").read_bytes()
    digest = hashlib.sha256(source + " ".join((platform.machine(), *_FLAGS)).encode()).hexdigest()[:16]
    path = paths.caches() / "blas" / f"row_products-{digest}.so"
    try:
        is_there = path.exists()
    except OSError as error:  # a home that may not even be looked into
        log.logger.info("products with one row stay in the general routine: %s", error)
        return None
    return path if is_there or _compile(source, path) else None


def _compile(source: bytes, path: Path) -> bool:
    compiler = find_compiler()
    if compiler is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            library = Path(folder) / path.name
            subprocess.run(
                [compiler, *_FLAGS, "-o", str(library), "-"],
                input=source, capture_output=True, check=True, timeout=_COMPILING_S,
            )  # fmt: skip
            library.replace(path)  # whole or not at all, also where two processes compile it
    except (OSError, subprocess.SubprocessError) as error:
        log.logger.info("products with one row stay in the general routine: %s", error)
        return False
    return True
