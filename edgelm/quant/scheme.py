"""What one quantization is: width, group and mode, and the combinations MLX can hold.

affine: w ≈ codes · scale + bias, one free scale and bias per group of a row. mxfp4, mxfp8 and nvfp4 are
the OCP/NVIDIA block formats: a shared 8-bit scale per block, no bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelm.errors import OptionError
from edgelm.options import Options, option

Settings = dict[str, Any]
"""The quantization of one layer as `config.json` has it: group_size, bits and, unless it is affine, mode."""

AFFINE_BITS = (2, 3, 4, 5, 6, 8)
AFFINE_GROUPS = (128, 64, 32)
"""Largest first: the order in which a width that does not fit falls back."""

BLOCK_MODES = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
"""Mode → the one (bits, group size) it allows."""


@dataclass(frozen=True)
class Scheme(Options):
    """How to quantize a layer; `bits` and `group_size` left out take the mode's defaults.

    Raises:
        OptionError: a combination that MLX cannot hold.
    """

    mode: str = option("affine", "number format", choices=("affine", "mxfp4", "mxfp8", "nvfp4", "none"))
    bits: int | None = option(None, "bits per code", choices=AFFINE_BITS)
    group_size: int | None = option(None, "weights that share a scale", choices=(16, 32, 64, 128))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "none":
            self._refuse_sizes()
        elif self.mode in BLOCK_MODES:
            self._fill(*BLOCK_MODES[self.mode], fixed=True)
        else:
            self._fill(4, 64, fixed=False)
            if self.group_size not in AFFINE_GROUPS:
                raise OptionError(
                    f"group_size is {self.group_size}, expected 32, 64 or 128 in mode affine",
                    settings=("group_size", "mode"),
                )

    def _refuse_sizes(self) -> None:
        if self.bits is not None or self.group_size is not None:
            given = [name for name in ("bits", "group_size") if getattr(self, name) is not None]
            raise OptionError(
                f"mode none leaves weights unquantized, so {' and '.join(given)} cannot be given with it",
                settings=("mode", *given),
            )

    def _fill(self, bits: int, group_size: int, *, fixed: bool) -> None:
        for name, default in (("bits", bits), ("group_size", group_size)):
            given = getattr(self, name)
            if fixed and given not in (None, default):
                raise OptionError(
                    f"{name} is {given}, expected {default} in mode {self.mode}", settings=(name, "mode")
                )
            object.__setattr__(self, name, given if given is not None else default)

    @property
    def settings(self) -> Settings:
        """The settings as `config.json` has them."""
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    def bits_per_weight(self, scale_bits: int = 16) -> float:
        """Count bits per weight with scales and biases; `scale_bits` is the model's float width."""
        return settings_bits_per_weight(self.settings, scale_bits)


def mode_of(settings: Settings) -> str:
    """Return the number format that a layer is quantized to."""
    return str(settings.get("mode", "affine"))


def is_affine(settings: Settings) -> bool:
    """Tell whether a layer gets free scales and biases."""
    return mode_of(settings) == "affine"


def settings_bits_per_weight(settings: Settings, scale_bits: int = 16) -> float:
    """Count bits per weight for the settings of one layer, as `config.json` has them."""
    overhead = 2 * scale_bits if is_affine(settings) else 8
    return float(settings["bits"]) + overhead / float(settings["group_size"])


def fit_group(settings: Settings, width: int) -> Settings | None:
    """Give `settings` the largest group that divides rows of `width`; None if none does."""
    if width % settings["group_size"] == 0:
        return settings
    if not is_affine(settings):
        return None
    for group_size in AFFINE_GROUPS:
        if group_size < settings["group_size"] and width % group_size == 0:
            return {**settings, "group_size": group_size}
    return None
