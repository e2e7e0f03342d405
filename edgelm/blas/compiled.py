"""Small libraries in C and C++ that ship as source, compiled once by this machine's compiler and kept in the cache folder.

The compiler is the one that MLX's CPU backend wants anyway for `mx.compile`. Without one, or with one that fails, callers do
without: slower, and right.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgelm import log, paths
from edgelm.blas.compiler import find_compiler

_COMPILING_S = 60


def compiled(
    source: bytes, name: str, flags: Sequence[str], *, without: str, machine: str = ""
) -> Path | None:
    """Return the path of the shared library that `source` becomes, compiled if it was not before; None where it cannot be had.

    Args:
        name: of the library, without a suffix.
        flags: of g++, the language included.
        without: what the log says happens without the library.
        machine: what the result depends on besides source and flags.
    """
    described = " ".join((platform.machine(), machine, *flags))
    digest = hashlib.sha256(source + described.encode()).hexdigest()[:16]
    path = paths.caches() / "blas" / f"{name}-{digest}.so"
    try:
        is_there = path.exists()
    except OSError as error:  # a home that may not even be looked into
        log.logger.info("%s: %s", without, error)
        return None
    return path if is_there or _compile(source, path, flags, without) else None


def _compile(source: bytes, path: Path, flags: Sequence[str], without: str) -> bool:
    compiler = find_compiler()
    if compiler is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            library = Path(folder) / path.name
            subprocess.run(
                [compiler, "-shared", "-fPIC", *flags, "-o", str(library), "-"],
                input=source, capture_output=True, check=True, timeout=_COMPILING_S,
            )  # fmt: skip
            library.replace(path)  # whole or not at all, also where two processes compile it
    except (OSError, subprocess.SubprocessError) as error:
        log.logger.info("%s: %s", without, error)
        return False
    return True
