"""Products of float32 matrices in full float32, where accuracy is the point: conversions, measurements, tests.

On M5 and on CUDA MLX rounds their factors to TF32 by default (10 bits of mantissa instead of 23; mlx #3860), as its own
tests turn off. MLX reads the variable once, at the first product, so it is set before MLX is imported.
"""

from __future__ import annotations

import os

VARIABLE = "MLX_ENABLE_TF32"


def full_float32() -> None:
    """Turn TF32 off for this process and those it starts; what the user has set stays."""
    os.environ.setdefault(VARIABLE, "0")


def uses_tf32() -> bool:
    """Return whether float32 products may be TF32, on hardware that has it (MLX's default is yes)."""
    return os.environ.get(VARIABLE, "1") != "0"
