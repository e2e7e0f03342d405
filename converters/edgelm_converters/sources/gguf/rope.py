"""Position settings: GGUF's scaling keys and factor tensors → transformers' `rope_scaling`.

llama.cpp stores llama-3 scaling as the finished factor of each frequency; its four parameters are
recovered here and must reproduce the stored factors, or the file is refused.
Formulas: transformers modeling_rope_utils.py (`_compute_llama3_parameters`), convert_hf_to_gguf.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.metadata import Keys

Factors = npt.NDArray[np.float32]
Scaling = dict[str, Any]

TOLERANCE = 1e-4
PUBLISHED = (8192.0, 1.0, 4.0)
"""Original context, low and high frequency factors of every Llama 3 that Meta published."""

USUAL_BASE = 10_000.0
"""llama.cpp's, and transformers' unless an architecture has its own."""
BASES = {
    "exaone": 5e5, "ernie4_5": 5e5, "ernie4_5-moe": 5e5, "gemma3": 1e6, "gemma3n": 1e6, "gpt-oss": 150_000.0, "lfm2": 1e6,
    "lfm2moe": 1e6, "llama4": 5e5, "minimax-m2": 5e6, "qwen2vl": 1e6, "qwen3vl": 5e5, "qwen3vlmoe": 5e5, "smollm3": 2e6,
    "apertus": 12e6, "command-r": 5e5,
}  # fmt: skip
"""llama.cpp's name of an architecture → `default_theta` of its config in transformers 5."""

NARROWING = (4.0, 2.0, 1.5, 1.2, 1.05, 1.01)
"""High frequency factors to try where one frequency alone lies between; its neighbours rule out wide ones."""


def rope_scaling(keys: Keys, dims: int, read_factors: Callable[[str], Factors | None]) -> Scaling | None:
    """transformers' `rope_scaling`, or None for plain RoPE.

    Args:
        keys: the architecture's metadata.
        dims: how many dimensions of a head are rotated.
        read_factors: the tensor of that name as [dims / 2] floats, None if the file has none.

    Raises:
        FormatError: a key is missing or of the wrong type.
        UnsupportedError: a kind of scaling that edgelm does not know, or factors of no known kind.
    """
    kind = keys.text(f"{keys.architecture}.rope.scaling.type")
    long = read_factors("rope_factors_long.weight")
    short = read_factors("rope_factors_short.weight")
    if long is not None and short is not None:
        return _longrope(keys, long, short)
    llama3 = _llama3(keys, dims, read_factors("rope_freqs.weight"))
    if llama3 is not None:
        if kind not in (None, "none"):
            raise UnsupportedError(
                f"{keys.path} has rope_freqs.weight and {kind} scaling, expected one of them"
            )
        return llama3
    if kind in (None, "none"):
        return None
    if kind == "linear":
        return _named("linear", factor=keys.positive("rope.scaling.factor"))
    if kind == "yarn":
        return _yarn(keys)
    raise UnsupportedError(
        f"{keys.path} has rope scaling {kind!r}, expected none, linear, yarn, longrope or llama3"
    )


def rope_base(keys: Keys) -> float:
    """Read the base of the frequencies; where the file has none, the one that the architecture has in transformers.

    Raises:
        FormatError: it is not a number from 1 to 1e12.
    """
    base = keys.positive("rope.freq_base", BASES.get(keys.architecture, USUAL_BASE))
    if not 1 < base <= 1e12:
        raise FormatError(f"{keys.path} has a rope.freq_base of {base}, expected a number from 1 to 1e12")
    return base


def _named(kind: str, **settings: Any) -> Scaling:
    # transformers calls it rope_type, mlx-lm's phi3 only looks for type.
    return {"rope_type": kind, "type": kind, **settings}


def _longrope(keys: Keys, long: Factors, short: Factors) -> Scaling:
    original = keys.size("rope.scaling.original_context_length", 4096)
    return _named(
        "longrope",
        long_factor=[_shortest(value) for value in long],
        short_factor=[_shortest(value) for value in short],
        original_max_position_embeddings=original,
    )


def _shortest(value: np.float32) -> float:
    return float(str(value))


def _yarn(keys: Keys) -> Scaling:
    scaling = _named(
        "yarn",
        factor=keys.positive("rope.scaling.factor"),
        original_max_position_embeddings=keys.size("rope.scaling.original_context_length"),
    )
    optional = {
        "beta_fast": "yarn_beta_fast",
        "beta_slow": "yarn_beta_slow",
        "attention_factor": "yarn_attn_factor",
    }
    for name, key in optional.items():
        if keys.has(f"rope.scaling.{key}"):
            scaling[name] = keys.positive(f"rope.scaling.{key}")
    return scaling


def _llama3(keys: Keys, dims: int, factors: Factors | None) -> Scaling | None:
    if factors is None or np.allclose(factors, 1, rtol=TOLERANCE):
        return None
    wavelengths = 2 * math.pi * rope_base(keys) ** (np.arange(0, dims, 2) / dims)
    factor = _shortest(factors.max())
    with np.errstate(all="ignore"):
        for original, low, high in _candidates(wavelengths, factors.astype(np.float64), factor):
            if np.allclose(llama3_factors(wavelengths, factor, original, low, high), factors, rtol=TOLERANCE):
                return _named(
                    "llama3",
                    factor=factor,
                    low_freq_factor=low,
                    high_freq_factor=high,
                    original_max_position_embeddings=int(original) if original.is_integer() else original,
                )
    raise UnsupportedError(
        f"{keys.path} has a rope_freqs.weight that is not llama3 scaling, the only kind known"
    )


def llama3_factors(
    wavelengths: npt.NDArray[np.float64], factor: float, original: float, low: float, high: float
) -> npt.NDArray[np.float64]:
    """Compute what llama3 scaling multiplies each wavelength by: from 1 for short ones to `factor` for long ones."""
    smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - smooth) / factor + smooth))


def _candidates(
    wavelengths: npt.NDArray[np.float64], factors: npt.NDArray[np.float64], factor: float
) -> Iterator[tuple[float, float, float]]:
    """(original context, low, high) that may have made these factors, likeliest first.

    Only original / low and original / high have an effect, so low = 1 loses nothing.
    """
    yield PUBLISHED
    if factor <= 1:
        return
    smooth = (1 / factors - 1 / factor) / (1 - 1 / factor)
    between = (smooth > TOLERANCE) & (smooth < 1 - TOLERANCE)
    if between.sum() >= 2:
        # smooth = original / (high - 1) · 1 / wavelength - 1 / (high - 1)
        slope, intercept = np.polyfit(1 / wavelengths[between], smooth[between], 1)
        if intercept < 0:
            high = 1 - 1 / float(intercept)
            original = float(slope) * (high - 1)
            yield from ((float(round(original)), 1.0, round(high, 2)), (original, 1.0, high))
    elif between.any():
        wavelength, share = float(wavelengths[between][0]), float(smooth[between][0])
        for high in NARROWING:
            original = wavelength * (1 + share * (high - 1))
            yield from ((float(round(original)), 1.0, high), (original, 1.0, high))
    elif (smooth > 0.5).any():
        # Nothing lies between: a step just above the last wavelength that is left alone.
        yield float(wavelengths[smooth > 0.5].max()) * 1.01, 1.0, 1.005
