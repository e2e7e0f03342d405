"""The settings of a conversion by name, for type checkers and editors: what `**settings` of `edgelm.convert` may hold.

`Conversion` holds them, checks them and has their defaults; a test keeps the two alike.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class ConversionSettings(TypedDict, total=False):
    """What to make of the weights; None leaves a default."""

    bits: Literal[2, 3, 4, 5, 6, 8] | None
    group_size: Literal[16, 32, 64, 128] | None
    mode: Literal["affine", "mxfp4", "mxfp8", "nvfp4", "none"] | None
    recipe: str | None
    quality: str | None
    size: str | None
    bpw: float | None
    fit: str | None
    calibration: str | None
    calibration_tokens: int | None
    seed: int | None
    distill: int | None
    dtype: str
    allow_mixed: bool
    loss_tokens: int | None
    verify: bool | Literal["transformers"]
