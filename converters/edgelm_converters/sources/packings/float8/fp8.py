"""8-bit floats with scales, in every layout that is published: the weight's type and the shape of its scale tell all.

| layout | scale |
|---|---|
| DeepSeek, Qwen, MiniMax; transformers' `FineGrainedFP8Config` | `weight_scale_inv`, a block each, float32 or E8M0 |
| DeepSeek-V4, Mistral's own files | `scale`, `qscale_weight` |
| compressed-tensors `float-quantized`, `naive-quantized`, `mxfp8-quantized`; ModelOpt; fbgemm | `weight_scale` |
| experts in one tensor | `gate_up_proj_scale_inv`, `gate_up_proj_scale` |

All of them are multiplied with the weight, whatever their name says. Powers of two over whole groups of 32 columns are
MLX's mxfp8 code for code; everything else is unpacked. What scales activations is of no use here and left out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import mlx.core as mx

from edgelm.errors import FormatError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.float8.codes import EXPONENTS, FLOAT8, table
from edgelm_converters.sources.packings.float8.scale_grid import ScaleGrid, find_grid
from edgelm_converters.sources.packings.float8.values import by_rows, scaled, scaled_rows
from edgelm_converters.sources.packings.packed_format import SCALE_DTYPES, PackedSource, Presented, lazily

MXFP8 = {"group_size": 32, "bits": 8, "mode": "mxfp8"}

ACTIVATIONS = frozenset(
    {
        "activation_scale", "input_scale", "input_global_scale", "input_scale_ub", "input_zero_point", "output_scale",
        "output_zero_point", "qscale_act", "k_scale", "v_scale", "q_scale", "kv_scale", "prob_output_scale",
        "k_zero_point", "v_zero_point", "kv_cache_scaling_factor",
    }
)  # fmt: skip
"""Last names of tensors that scale what is not a weight."""
_OF_EXPERTS = ("_input_scale", "_activation_scale", "_input_global_scale")


def is_float8(tensor: LazyTensor) -> bool:
    """Tell whether a tensor holds 8-bit floats."""
    return tensor.stored_as in FLOAT8


def scale_of(name: str, source: PackedSource) -> str | None:
    """Return the name of the scale of the weight `name`; None if it has none."""
    names = [f"{name}_scale_inv", f"{name}_scale", f"{name}_weight_scale", f"{name}_weight_scale_inv"]
    if name.endswith(".weight"):
        path = name.removesuffix(".weight")
        names += [f"{path}.scale", f"{path}.qscale_weight", f"{path}.scale_inv"]
    return next((each for each in names if each in source.tensors), None)


def present_float8(name: str, source: PackedSource, result: Presented) -> None:
    """Present the weight `name` of 8-bit floats, or of bytes that stand for E4M3, with its scale if it has one.

    Raises:
        FormatError: the scale does not fit the weight.
    """
    weight = source.tensors[name]
    found = scale_of(name, source)
    result.used.add(name)
    kind = FLOAT8.get(weight.stored_as, "e4m3fn")
    if not math.prod(weight.shape):
        raise source.refuse(name, "are empty")
    if found is None and source.method:
        raise source.refuse(name, "have no scale")
    if found is None:
        read = functools.partial(_plain, weight, kind, f"{source.where}: {name}")
        result.unpack(name, weight.shape, read, weight.stored_as)
        return
    scale = source.tensors[found]
    result.used.add(found)
    grid = find_grid(weight.shape, scale.shape, announced_block(source))
    if grid is None or not is_scale(scale):
        raise FormatError(
            f"{source.where}: {found} is {scale.stored_as} of shape {scale.shape}, which does not scale"
            f" {name} of shape {weight.shape}"
        )
    if kind == "e4m3fn" and name.endswith(".weight") and _is_mxfp8(weight, scale, grid, source):
        _keep_mxfp8(name.removesuffix(".weight"), weight, scale, grid, result, f"{source.where}: {name}")
        return
    where = f"{source.where}: {name}"
    read = functools.partial(_unpacked, weight, scale, kind, grid, where)
    rows = scaled_rows(weight, lambda codes: table(kind)[codes], lambda: scale_values(scale), grid, where)
    result.unpack(name, weight.shape, read, weight.stored_as, read_rows=rows)


def is_scale(scale: LazyTensor) -> bool:
    """Tell whether a tensor can scale: a float, or exponents."""
    return scale.dtype in SCALE_DTYPES or scale.stored_as in EXPONENTS


def scale_values(scale: LazyTensor) -> mx.array:
    """Read a scale as float32."""
    values = scale.read()
    return values.astype(mx.float32) if scale.dtype in SCALE_DTYPES else table("e8m0")[values]


def leave_out_activations(source: PackedSource, result: Presented) -> None:
    """Drop what scales activations and KV caches: nothing is quantized there in MLX."""
    dropped = [
        name
        for name, tensor in source.tensors.items()
        if (name.rpartition(".")[2] in ACTIVATIONS or name.endswith(_OF_EXPERTS))
        and math.prod(tensor.shape) <= 1 << 20
    ]
    if dropped:
        result.used.update(dropped)
        result.notes.append("activations and KV cache are not quantized: the scales for them are left out")


def describe(label: str, source: PackedSource, result: Presented) -> None:
    """Note what was kept and what was unpacked."""
    if result.quantization:
        result.notes.append(f"{label}: {len(result.quantization)} modules are kept code for code")
    if result.requantized:
        result.notes.append(
            f"{label}: {len(result.requantized)} modules are in a form that MLX does not have, and unpacked"
        )


def announced_block(source: PackedSource) -> tuple[int, int] | None:
    """Return the rows and columns of a block, as the settings have it."""
    said = source.settings.get("weight_block_size")
    if said is None:
        said = next((block for block in _group_blocks(source)), None)
    if (
        isinstance(said, list | tuple)
        and len(said) == 2
        and all(type(size) is int and size > 0 for size in said)
    ):
        return (said[0], said[1])
    return None


def _group_blocks(source: PackedSource) -> Iterator[object]:
    """The blocks of compressed-tensors' groups."""
    groups = source.settings.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict) and weights.get("block_structure") is not None:
            yield weights["block_structure"]


def _plain(weight: LazyTensor, kind: str, where: str) -> mx.array:
    codes = weight.read()
    flat = codes.reshape(-1, codes.shape[-1])
    rows, columns = flat.shape
    values = by_rows(lambda start, stop: table(kind)[flat[start:stop]], rows, columns, where)
    return values.reshape(codes.shape)


def _unpacked(weight: LazyTensor, scale: LazyTensor, kind: str, grid: ScaleGrid, where: str) -> mx.array:
    return scaled(weight.read(), lambda codes: table(kind)[codes], scale_values(scale), grid, where)


def _is_mxfp8(weight: LazyTensor, scale: LazyTensor, grid: ScaleGrid, source: PackedSource) -> bool:
    if (
        (grid.is_shared and len(weight.shape) == 3)
        or grid.columns % 32
        or (grid.grid[1] > 1 and grid.block[1] % 32)
    ):
        return False
    if scale.stored_as in EXPONENTS:
        return True
    # Scales that are powers of two by their settings may be stored as float32; few bytes tell whether they are.
    return source.settings.get("scale_fmt") == "ue8m0" and _are_powers(scale)


def _are_powers(scale: LazyTensor) -> bool:
    bits = scale.read().astype(mx.float32).view(mx.uint32)
    exponents = bits >> 23
    return bool(mx.all(((bits & 0x7FFFFF) == 0) & (exponents > 0) & (exponents < 255)).item())


def _keep_mxfp8(
    path: str, weight: LazyTensor, scale: LazyTensor, grid: ScaleGrid, result: Presented, where: str
) -> None:
    def words(codes: mx.array) -> mx.array:
        _refuse_nan(mx.any((codes & 0x7F) == 0x7F), where)
        return mx.contiguous(codes).view(mx.uint32)

    def exponents(stored: mx.array) -> mx.array:
        codes = (
            stored
            if stored.dtype == mx.uint8
            else (stored.astype(mx.float32).view(mx.uint32) >> 23).astype(mx.uint8)
        )
        _refuse_nan(mx.any(codes == 255), where)
        return grid.groups(codes.reshape(-1, grid.grid[1]), 32).reshape(groups)

    groups = (*weight.shape[:-1], weight.shape[-1] // 32)
    result.keep(
        path,
        lazily(words, (*weight.shape[:-1], weight.shape[-1] // 4), mx.uint32, weight, stored_as="MXFP8"),
        lazily(exponents, groups, mx.uint8, scale),
        None,
        MXFP8,
    )


def _refuse_nan(found: mx.array, where: str) -> None:
    if found.item():
        raise FormatError(f"{where} has values that are not finite", hint="the file is damaged")
