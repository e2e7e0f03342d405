"""Gives OpenBLAS the kernels of a processor that it does not know.

A build of OpenBLAS knows processors by their model numbers. For a newer one it falls back to "Prescott", which is SSE3:
on a Xeon of 2023, Debian 12's 0.3.21 multiplies at 10 instead of 120 GFLOP/s. Kernels are chosen while the library
is loaded, so it is loaded, looked at, and loaded again with kernels for the instructions that Linux reports. A choice
that the user made (`OPENBLAS_CORETYPE`) stands.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
import random
from pathlib import Path

from edgelm import log

_VARIABLE = "OPENBLAS_CORETYPE"
_FALLBACK = b"Prescott"
_NEEDS = {
    "SKYLAKEX": {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "avx2", "fma"},
    "HASWELL": {"avx2", "fma"},
}


def load_with_fitting_kernels(name: str) -> ctypes.CDLL | None:
    """Load OpenBLAS for all that is loaded later; None where there is none."""
    try:
        fitting = _fitting_core(name)
        if fitting is not None:
            library = _loaded_as(fitting, name)
            if library is not None:
                return library
        return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError:  # not installed: slower, and `edgelm doctor` says so
        return None


def _fitting_core(name: str) -> str | None:
    """The kernels to ask for; None where OpenBLAS's own choice is good, or was made by the user."""
    if _VARIABLE in os.environ:
        return None
    library = ctypes.CDLL(name)
    core = _core_of(library)
    _ctypes.dlclose(library._handle)
    return core_for(processor_flags()) if core == _FALLBACK else None


def _loaded_as(core: str, name: str) -> ctypes.CDLL | None:
    """The library with the kernels of `core`; None where it multiplies wrongly with them."""
    os.environ[_VARIABLE] = core
    try:
        library = ctypes.CDLL(name)
    finally:
        del os.environ[_VARIABLE]  # it is for this library alone: numpy's own OpenBLAS reads it as well
    if multiplies_exactly(library):
        log.logger.info("OpenBLAS does not know this processor: with its kernels for %s", core)
        return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)  # the same, and now visible
    log.logger.warning("OpenBLAS multiplies wrongly with its kernels for %s on this processor", core)
    _ctypes.dlclose(library._handle)
    return None


def core_for(flags: frozenset[str]) -> str | None:
    """Return the most capable kernels for a processor with these flags of /proc/cpuinfo; None without AVX2."""
    return next((core for core, needed in _NEEDS.items() if needed <= flags), None)


def processor_flags() -> frozenset[str]:
    """Return the instruction sets that Linux reports of the first processor; empty where it does not (ARM)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


def _core_of(library: ctypes.CDLL) -> bytes:
    library.openblas_get_corename.restype = ctypes.c_char_p
    name: bytes = library.openblas_get_corename()
    return name


def multiplies_exactly(library: ctypes.CDLL) -> bool:
    """Return whether products of small whole numbers, which float32 holds exactly, come out exactly (Freivalds' check)."""
    return all(_product_is_exact(library, *shape) for shape in ((1, 70, 65), (5, 33, 129), (48, 80, 112)))


def _product_is_exact(library: ctypes.CDLL, m: int, n: int, k: int) -> bool:
    draw = random.Random(0)
    a = [draw.randrange(-3, 4) for _ in range(m * k)]
    b = [draw.randrange(-3, 4) for _ in range(n * k)]  # b as layers keep it: [N, K]
    c = (ctypes.c_float * (m * n))()
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    matrix_a, matrix_b = (ctypes.c_float * len(a))(*a), (ctypes.c_float * len(b))(*b)
    library.cblas_sgemm(101, 111, 112, m, n, k, one, matrix_a, k, matrix_b, k, zero, c, n)
    signs = [draw.choice((-1, 1)) for _ in range(n)]
    through = [sum(b[row * k + at] * signs[row] for row in range(n)) for at in range(k)]
    return all(
        sum(c[row * n + at] * signs[at] for at in range(n))
        == sum(a[row * k + at] * through[at] for at in range(k))
        for row in range(m)
    )
