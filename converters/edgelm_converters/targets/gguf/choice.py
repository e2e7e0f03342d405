"""The type that each tensor is stored as.

Left to itself a file keeps what its model has: floats as they are, packed groups in the block form that holds them. llama.cpp
wants some tensors in float32 whatever was asked for. Source: llama.cpp's conversion/base.py (`prepare_tensors`) and
src/llama-quant.cpp (what stands in where a row is no multiple of a block).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import mlx.core as mx

from edgelm.errors import OptionError
from edgelm_converters.sources.gguf.types.kinds import Kind, values_per_block
from edgelm_converters.targets.gguf.blocks.registry import ENCODERS

AUTO = "auto"
TYPES: Mapping[str, Kind] = {kind.name.lower(): kind for kind in ENCODERS}
CHOICES = (AUTO, *TYPES)

_FLOAT32 = re.compile(
    r"(?:.*\.)?(?:ffn_gate_inp|ffn_gate_inp_shexp|position_embd|ssm_conv1d(?:_[qkv])?|shortconv\.conv|altup_correct_coef"
    r"|altup_predict_coef)\.weight|.*_norm\.weight"
)
_FLOATS = {mx.float32: Kind.F32, mx.float16: Kind.F16, mx.bfloat16: Kind.BF16}
_STANDS_IN = {
    Kind.Q2_K: Kind.IQ4_NL, Kind.Q3_K: Kind.IQ4_NL, Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0,
}  # fmt: skip
BEST = Kind.Q8_0
"""For packed groups that no type holds as they are."""


def named_type(text: str) -> Kind | None:
    """Return the type that `text` names, None for "auto".

    Raises:
        OptionError: none of that name.
    """
    if text.lower() == AUTO:
        return None
    if text.lower() not in TYPES:
        raise OptionError(f"type is {text!r}, expected one of {', '.join(CHOICES)}", settings=("type",))
    return TYPES[text.lower()]


def is_float32(name: str, shape: tuple[int, ...]) -> bool:
    """Tell whether llama.cpp wants the tensor in float32."""
    return len(shape) < 2 or not name.endswith(".weight") or _FLOAT32.fullmatch(name) is not None


def fitting(kind: Kind, width: int) -> Kind:
    """Return `kind`, or what stands in for it in rows of `width`."""
    if width % values_per_block(kind) == 0:
        return kind
    other = _STANDS_IN.get(kind)
    return fitting(other, width) if other is not None else Kind.F16


def float_kind(dtype: mx.Dtype) -> Kind:
    """Return the type that holds what MLX's `dtype` holds."""
    return _FLOATS.get(dtype, Kind.F32)
