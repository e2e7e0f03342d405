"""What a user may ask of a conversion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from edgelm.errors import OptionError
from edgelm.options import Options, option
from edgelm.quant.recipes import RECIPES
from edgelm.quant.scheme import Scheme, Settings, is_affine
from edgelm_converters.methods.method import QuantizationMethod
from edgelm_converters.methods.registry import (
    BUDGET_DEFAULT,
    METHODS,
    NARROW_DEFAULT,
    ROUNDING,
    SEARCHED,
    calibrated_methods,
)

CALIBRATED_BITS = 4
"""Up to this width the default quality is good: measured at 2, 3 and 4 bits it never lost more than rounding."""

WIDEST = 8
"""The width at which searching scales gains nothing that could be measured."""

LOSS_TOKENS = 4096

JUDGE = "transformers"
"""Who verifies besides edgelm itself."""

CALIBRATION_TOKENS = 16_384


def is_narrow(settings: Settings) -> bool:
    """Tell whether a layer of these settings gains from calibration by default: affine, of few bits."""
    return is_affine(settings) and int(settings["bits"]) <= CALIBRATED_BITS


@dataclass(frozen=True)
class Conversion(Options):
    """What to make of the weights. With bits, group size, mode and recipe left out, weights that arrive
    quantized stay exactly as they are, and others become 4 bits in groups of 64.
    """

    bits: int | None = option(None, "bits per weight", choices=(2, 3, 4, 5, 6, 8))
    group_size: int | None = option(None, "weights that share a scale", choices=(16, 32, 64, 128))
    mode: str | None = option(None, "number format", choices=("affine", "mxfp4", "mxfp8", "nvfp4", "none"))
    recipe: str | None = option(None, "mixed widths", choices=tuple(RECIPES))
    quality: str | None = option(
        None,
        f"how codes are chosen (default good up to {CALIBRATED_BITS} bits, else rtn)",
        choices=tuple(METHODS),
    )
    size: str | None = option(None, "budget for the weight files, as 2.3GB: widths are chosen by tensor")
    bpw: float | None = option(None, "the same as bits per weight, scales included", gt=0, le=16)
    fit: str | None = option(None, 'the same as what a Mac can hold, as "M2 Air 8GB"')
    calibration: str | None = option(
        None, "text or chat JSONL file, or a directory of them (default: the text that ships with edgelm)"
    )
    calibration_tokens: int | None = option(
        None, f"tokens to calibrate on (default {CALIBRATION_TOKENS})", ge=512, le=10_000_000
    )
    seed: int | None = option(None, "chooses the calibration rows (default 0)", ge=0)
    distill: int | None = option(
        None, "after calibrating, steps of training scales and norms against the source's logits", ge=1
    )
    dtype: str = option(
        "auto", "unquantized parameters", choices=("auto", "source", "float16", "bfloat16", "float32")
    )
    allow_mixed: bool = option(
        False, "accept a result larger than asked for, where layers could not be quantized"
    )
    loss_tokens: int | None = option(
        None,
        f"held-out tokens to measure the loss on, 0 for none (default {LOSS_TOKENS}, and none for rtn)",
        ge=0,
    )
    verify: bool | str = option(
        True,
        "compare logits with the source's on a short text; transformers also asks that library, with torch, for the source's",
        choices=(True, False, JUDGE),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recipe is not None and (self.bits is not None or self.mode not in (None, "affine")):
            other = "bits" if self.bits is not None else "mode"
            raise OptionError(
                f"recipe {self.recipe} sets the bits itself, so {other} cannot be given with it",
                settings=("recipe", other),
            )
        self._check_budget()
        if self.distill is not None and not self.method.needs_text:
            raise OptionError(
                "distill starts from a calibrated model",
                hint=f"add {calibrated_methods(' or ')}",
                settings=("distill",),
            )
        if self.calibration is not None and not self.method.needs_text:
            raise OptionError(
                f"quality {self.method.name} uses no calibration text",
                hint=f"add {calibrated_methods(' or ')}",
                settings=("quality",),
            )
        self.scheme()

    def _check_budget(self) -> None:
        budgets = [name for name in ("size", "bpw", "fit") if getattr(self, name) is not None]
        widths = [name for name in ("bits", "group_size", "recipe") if getattr(self, name) is not None]
        if len(budgets) > 1:
            raise OptionError(f"{' and '.join(budgets)} are given, expected one budget", settings=budgets)
        if budgets and self.mode not in (None, "affine"):
            raise OptionError(
                f"{budgets[0]} goes with affine widths, so mode {self.mode} does not",
                settings=(budgets[0], "mode"),
            )
        if budgets and widths:
            raise OptionError(
                f"{budgets[0]} chooses the widths itself, so {' and '.join(widths)} cannot be given with it",
                settings=(budgets[0], *widths),
            )

    @property
    def has_budget(self) -> bool:
        """Whether widths are chosen by tensor."""
        return self.size is not None or self.bpw is not None or self.fit is not None

    @property
    def method(self) -> QuantizationMethod:
        """The quality asked for, or the default."""
        if self.quality is not None:
            return METHODS[self.quality]
        if self.has_budget:
            return BUDGET_DEFAULT
        return NARROW_DEFAULT if self.recipe is not None or is_narrow(self.scheme().settings) else ROUNDING

    @property
    def asks_for_quality(self) -> bool:
        """Whether a quality was asked for, or what only makes sense with one."""
        return any(setting is not None for setting in (self.quality, self.calibration, self.distill))

    @property
    def is_left_to_us(self) -> bool:
        """Whether nothing that was asked for needs one quality: then rounding will do where calibrating cannot."""
        return not self.asks_for_quality and not self.has_budget

    def settled(self, layers: Iterable[Settings]) -> Conversion:
        """Choose rounding as the quality if it was left to us and none of the `layers` to quantize is narrow."""
        if not self.is_left_to_us or any(is_narrow(settings) for settings in layers):
            return self
        return self.rounding()

    def settled_as_precise(self, layers: Iterable[Settings]) -> Conversion:
        """Choose how `layers` that the source has quantized come near to what it says, if the quality was left to us.

        Nothing is calibrated, and no loss measured: what the source lost of its own source is many times what is added.
        """
        if not self.is_left_to_us:
            return self
        if not any(is_affine(settings) and int(settings["bits"]) < WIDEST for settings in layers):
            return self.rounding()
        return replace(self, quality=SEARCHED.name, loss_tokens=self.loss_tokens or 0)

    def rounding(self) -> Conversion:
        """Ask for weights rounded to nearest instead, with no text to calibrate on."""
        return replace(
            self, quality=ROUNDING.name, calibration=None, calibration_tokens=None, seed=None, distill=None
        )

    def unused(self, *, calibrated: bool) -> tuple[str, ...]:
        """List the settings that were given and changed nothing, since nothing was `calibrated`."""
        # Measuring for a budget draws its text by the seed, whatever the quality.
        names = ("calibration_tokens", *(() if self.has_budget else ("seed",)))
        return () if calibrated else tuple(name for name in names if getattr(self, name) is not None)

    @property
    def asks_judge(self) -> bool:
        """Whether transformers is to compute the source as well."""
        return self.verify == JUDGE

    @property
    def measured_tokens(self) -> int:
        """Held-out tokens on which the loss is measured; 0 where it is not."""
        if self.loss_tokens is not None:
            return self.loss_tokens
        return LOSS_TOKENS if self.verify and not self.method.is_baseline else 0

    @property
    def keeps_packed(self) -> bool:
        """Whether weights that arrive quantized stay exactly as they are."""
        return self.may_keep_packed and not self.has_budget

    @property
    def may_keep_packed(self) -> bool:
        """Whether they may: with a budget, they do where it holds them and they are the best use of it."""
        asked = (self.bits, self.group_size, self.mode, self.recipe)
        return all(setting is None for setting in asked)

    def without_budget(self) -> Conversion:
        """Ask for the same with no budget."""
        return replace(self, size=None, bpw=None, fit=None)

    def scheme(self) -> Scheme:
        """Return the settings of a layer that nothing else is said about."""
        return Scheme(mode=self.mode or "affine", bits=self.bits, group_size=self.group_size)
