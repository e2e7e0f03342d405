"""Whatever tensors and settings claim: an `EdgeLMError`, or tensors of what was announced, in memory bounded by the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.errors import EdgeLMError
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint, SourceOrigin
from edgelm_converters.sources.packings.registry import unpacked_checkpoint
from edgelm_converters.weights.packed import unpacked

DTYPES = {
    "F8_E4M3": mx.uint8, "F8_E5M2": mx.uint8, "F8_E8M0": mx.uint8, "U8": mx.uint8, "I8": mx.int8, "I32": mx.int32,
    "I64": mx.int64, "F32": mx.float32, "BF16": mx.bfloat16, "F16": mx.float16, "BOOL": mx.bool_,
}  # fmt: skip
LASTS = (
    "weight", "weight_scale", "weight_scale_inv", "weight_packed", "weight_shape", "weight_zero_point", "weight_g_idx",
    "weight_global_scale", "weight_scale_2", "scale", "qscale_weight", "input_scale", "gate_up_proj", "gate_up_proj_scale_inv",
    "gate_up_proj_blocks", "gate_up_proj_scales", "gate_up_proj_weight_scale", "gate_up_proj_weight_scale_2", "bias",
)  # fmt: skip
METHODS = ("fp8", "mxfp8", "mxfp4", "fbgemm_fp8", "compressed-tensors", "modelopt", "nvfp4", None, 3, "")
SIDES = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 31, 32, 64])
SHAPES = st.one_of(
    st.tuples(), st.tuples(SIDES), st.tuples(SIDES, SIDES), st.tuples(st.integers(0, 3), SIDES, SIDES)
)
NESTED = ("weights", "num_bits", "a", "apply", "config_groups", "block_structure", "format")
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 200), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NESTED), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "weight_block_size",
    "scale_fmt",
    "config_groups",
    "transform_config",
    "format",
    "sparsity_config",
    "ignore",
    "quant_algo",
)
TENSORS = st.dictionaries(
    st.tuples(st.sampled_from(["m.a", "m.b", ""]), st.sampled_from(LASTS)).map(
        lambda pair: ".".join(filter(None, pair))
    ),
    st.tuples(st.sampled_from(sorted(DTYPES)), SHAPES, st.integers(0, 3)),
    max_size=7,
)


def lazy(kind: str, shape: tuple[int, ...], seed: int) -> LazyTensor:
    raw = np.random.default_rng(seed).integers(0, 256, math.prod(shape) * DTYPES[kind].size).astype(np.uint8)
    if kind == "BOOL":
        raw &= 1

    def read() -> mx.array:
        if not raw.size:
            return mx.zeros(shape, DTYPES[kind])
        return mx.array(raw).view(DTYPES[kind]).reshape(shape)

    return LazyTensor(shape, DTYPES[kind], read, kind)


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tensors=TENSORS, method=st.sampled_from(METHODS), said=st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=3),
    fits=st.booleans(), bits=st.integers(1, 8),
)  # fmt: skip
def test_nothing_but_an_error_of_ours(
    tensors: dict[str, tuple[str, tuple[int, ...], int]],
    method: object,
    said: dict[str, Any],
    fits: bool,
    bits: int,
) -> None:
    held = {name: lazy(*each) for name, each in tensors.items()}
    if fits and "m.a.weight_packed" in held:  # otherwise hardly any example has a shape that agrees
        held["m.a.weight_shape"] = LazyTensor((2,), mx.int64, lambda: mx.array([4, 32]), "I64")
        held["m.a.weight_packed"] = lazy("I32", (4, bits), 1)
    origin = SourceOrigin("here", "huggingface", (Path("here/model.safetensors"),))
    config = {"model_type": "llama", "quantization_config": {"quant_method": method, **said}}
    checkpoint = SourceCheckpoint(origin, config, held, lambda _: None)
    stored = sum(math.prod(tensor.shape) * tensor.dtype.size for tensor in held.values())
    try:
        made = unpacked_checkpoint(checkpoint, Path("here"))
        dense = unpacked(made.tensors, made.quantization)
        for found in (made.tensors, dense):
            for name, tensor in found.items():
                # A code of one bit is the least that a float32 is made of.
                assert tensor.nbytes <= 32 * stored + 64, name
                array = tensor.read()
                mx.eval(array)
                assert (tuple(array.shape), array.dtype) == (tensor.shape, tensor.dtype), name
    except EdgeLMError:
        return
