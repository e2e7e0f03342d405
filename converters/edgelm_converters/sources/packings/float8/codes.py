"""What the bytes of small floats stand for, as tables of float32.

Sources: OCP 8-bit floating point specification 1.0 (E4M3, E5M2), OCP microscaling formats 1.0 (E8M0, E2M1, E2M3);
the "fnuz" kinds have a bias one higher, no negative zero and no infinity (arXiv:2206.02915).
"""

from __future__ import annotations

import functools
import math

import mlx.core as mx

FLOAT8 = {
    "F8_E4M3": "e4m3fn", "torch.float8_e4m3fn": "e4m3fn",
    "F8_E5M2": "e5m2", "torch.float8_e5m2": "e5m2",
    "F8_E4M3FNUZ": "e4m3fnuz", "torch.float8_e4m3fnuz": "e4m3fnuz",
    "F8_E5M2FNUZ": "e5m2fnuz", "torch.float8_e5m2fnuz": "e5m2fnuz",
}  # fmt: skip
"""What a header or torch calls an 8-bit float of weights → its kind here."""

EXPONENTS = ("F8_E8M0", "torch.float8_e8m0fnu", "U8", "torch.uint8")
"""How powers of two are stored that scale a block."""

_LAYOUT = {"e4m3fn": (3, 7), "e5m2": (2, 15), "e4m3fnuz": (3, 8), "e5m2fnuz": (2, 16)}
"""Kind → (bits of the mantissa, bias)."""

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The magnitudes of a 4-bit float."""


@functools.cache
def table(kind: str) -> mx.array:
    """Return what each of the 256 bytes stands for, [256] float32: a kind of `FLOAT8`, or "e8m0"."""
    values = (
        [_power(code) for code in range(256)]
        if kind == "e8m0"
        else [_float8(code, kind) for code in range(256)]
    )
    return mx.array(values, dtype=mx.float32)


def _power(code: int) -> float:
    return math.nan if code == 255 else 2.0 ** (code - 127)


def _float8(code: int, kind: str) -> float:
    mantissa_bits, bias = _LAYOUT[kind]
    sign, magnitude = (-1.0 if code & 0x80 else 1.0), code & 0x7F
    exponent, mantissa = magnitude >> mantissa_bits, magnitude & ((1 << mantissa_bits) - 1)
    if kind.endswith("fnuz"):
        if code == 0x80:
            return math.nan
    elif kind == "e4m3fn" and magnitude == 0x7F:
        return math.nan
    elif kind == "e5m2" and exponent == 31:
        return sign * math.inf if mantissa == 0 else math.nan
    fraction = mantissa / (1 << mantissa_bits)
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias)
    return sign * (1.0 + fraction) * 2.0 ** (exponent - bias)


@functools.cache
def nibbles() -> mx.array:
    """Return what both E2M1 halves of a byte stand for, the lower one first: [256, 2] float32."""
    halves = (*E2M1, *(-value for value in E2M1))
    return mx.array([(halves[code & 15], halves[code >> 4]) for code in range(256)], dtype=mx.float32)


@functools.cache
def e2m3() -> mx.array:
    """Return what the 64 codes of a 6-bit float stand for, [64] float32."""
    small = [code / 8 for code in range(8)] + [
        (1 + code / 8) * 2.0**power for power in range(3) for code in range(8)
    ]
    return mx.array([*small, *(-value for value in small)], dtype=mx.float32)
