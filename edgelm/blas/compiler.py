"""The compiler of this machine that MLX's CPU backend calls for `mx.compile`, and edgelm for its own routine."""

from __future__ import annotations

import shutil


def find_compiler() -> str | None:
    """Return the path of `g++`, None without one; MLX calls no other compiler (traced, mlx 0.32.4)."""
    return shutil.which("g++")
