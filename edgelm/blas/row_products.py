"""Sends products with one row to `cblas_sgemv`, by a library of a few lines in front of the BLAS (`row_products.c`).

Where it cannot be compiled (`compiled.py`), everything goes to the general routine as before: slower, and right.
`EDGELM_ROW_PRODUCTS=0` turns it off.
"""

from __future__ import annotations

import ctypes
import os
from importlib.resources import files
from pathlib import Path

from edgelm import log
from edgelm.blas.compiled import compiled

_FLAGS = ("-O2", "-x", "c")
_WITHOUT = "products with one row stay in the general routine"


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
        log.logger.info("%s: %s", _WITHOUT, error)
        return None


def forward_row_products(rows: ctypes.CDLL, blas: ctypes.CDLL) -> None:
    """Tell the library which BLAS stands behind it."""
    rows.edgelm_forward(
        ctypes.cast(blas.cblas_sgemm, ctypes.c_void_p), ctypes.cast(blas.cblas_sgemv, ctypes.c_void_p)
    )


def _compiled() -> Path | None:
    """The compiled library, from the cache folder where it was compiled before."""
    source = files("edgelm.blas").joinpath("row_products.c").read_bytes()
    return compiled(source, "row_products", _FLAGS, without=_WITHOUT)
