"""Deciding, from what is asked and what the source holds, how each layer is quantized and the dtype of each tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from typing import Any, cast

import mlx.core as mx

from edgelm import device
from edgelm.quant.apply import Decision, decide, quantizable
from edgelm.quant.recipes import mixed_predicate
from edgelm.quant.scheme import Settings, fit_group
from edgelm.zoo.precision.families import needs_bfloat16
from edgelm_converters.conversion import Conversion
from edgelm_converters.sources.checkpoint import LazyTensor, SourceCheckpoint
from edgelm_converters.targets.mlx.plan import TargetDtype

HALVES = (mx.float16, mx.bfloat16)
FLOATS = (*HALVES, mx.float32)


def decide_layers(
    network: Any, requantized: Mapping[str, Settings], wanted: Conversion, packed: Mapping[str, Any]
) -> Decision:
    """Decide how each layer of the unquantized `network` is quantized now; `packed` ones are left as they are.

    A source that is quantized in whole or in part, even in types that MLX cannot hold, keeps its precision
    unless another is asked for.

    Args:
        requantized: what modules of the network that had such types are quantized to instead.
    """
    if wanted.keeps_packed and (packed or requantized):
        return _as_precise(network, requantized)
    if wanted.mode == "none":
        return Decision()
    scheme = wanted.scheme()
    if wanted.recipe is None:
        return decide(network, scheme)
    assert scheme.group_size is not None
    paths = [path for path, _ in network.named_modules()]
    return decide(
        network, scheme, mixed_predicate(wanted.recipe, paths, len(network.layers), scheme.group_size)
    )


def _as_precise(network: Any, requantized: Mapping[str, Settings]) -> Decision:
    """Quantize what was quantized in the source, and no more; how large that comes out is the source's doing."""
    decision = Decision()
    for path, module in quantizable(network).items():
        if path in requantized:
            fitting = fit_group(requantized[path], module.weight.shape[-1])
            if fitting is None:
                decision.left[path] = module.weight.shape[-1]
                continue
            if fitting != requantized[path]:
                decision.regrouped[path] = fitting["group_size"]
            decision.layers[path] = fitting
    return decision


def choose_dtypes(
    checkpoint: SourceCheckpoint,
    wanted: Conversion,
    packed: Mapping[str, Any],
    decision: Decision,
    inputs: Mapping[str, LazyTensor],
) -> TargetDtype:
    """Choose the dtype that each floating tensor is cast to.

    "auto" is what runs fastest on this machine, but never loses what a packed source holds: there the
    scales stay as stored, and float32 vectors join their dtype only if every value survives.

    Args:
        packed: the modules of the source that are packed and may stay so.
        inputs: the source's tensors under the network's names.
    """
    usual, is_gguf = usual_dtype(checkpoint, wanted), checkpoint.origin.kind == "gguf"
    if packed and not is_gguf and wanted.dtype in ("auto", "source"):
        scales = _most_common(checkpoint, FLOATS) or usual
        stored = _stored_dtypes(scales, {*packed, *decision.layers}, inputs)
        is_left_to_us = wanted.dtype == "auto" and not needs_bfloat16(checkpoint.config)
        return _joining_halves(stored, packed, inputs) if is_left_to_us else stored
    if wanted.dtype == "source":
        return lambda _, tensor: tensor.dtype
    keeps = wanted.keeps_packed or (wanted.may_keep_packed and bool(packed or checkpoint.requantized))
    # Block formats are in no half precision of their own: what stands beside them keeps its values all the same.
    if wanted.dtype == "auto" and keeps and is_gguf and (packed or _half_precision(checkpoint)):
        return _kept_dtypes(usual, decision)
    return lambda _, tensor: usual


def _stored_dtypes(scales: mx.Dtype, packed: Set[str], inputs: Mapping[str, LazyTensor]) -> TargetDtype:
    """Keep what is stored; a `packed` weight that was unpacked, to be quantized anew, gets the dtype of the `scales`.

    Biases that a source has as zero points come exact, in float32, and are rounded to the dtype of their scales.
    """

    def choose(name: str, tensor: LazyTensor) -> mx.Dtype:
        path, _, kind = name.rpartition(".")
        if kind == "biases" and f"{path}.scales" in inputs:
            return inputs[f"{path}.scales"].dtype
        return scales if kind == "weight" and path in packed else tensor.dtype

    return choose


def _joining_halves(
    stored: TargetDtype, packed: Mapping[str, Any], inputs: Mapping[str, LazyTensor]
) -> TargetDtype:
    """Let bfloat16 join float16 scales, which AutoRound and others store beside it: MLX computes in float32 where both meet.

    Only the range differs; a vector that has values outside stays as it is.
    """
    scales = {inputs[f"{path}.scales"].dtype for path in packed if f"{path}.scales" in inputs}
    if mx.float16 not in scales or mx.bfloat16 in scales:
        return stored

    def choose(name: str, tensor: LazyTensor) -> mx.Dtype:
        dtype = stored(name, tensor)
        if dtype != mx.bfloat16 or (len(tensor.shape) == 1 and not _survives(tensor.read(), mx.float16)):
            return dtype
        return mx.float16

    return choose


def usual_dtype(checkpoint: SourceCheckpoint, wanted: Conversion) -> mx.Dtype:
    """Choose what most parameters that are not quantized become."""
    if wanted.dtype not in ("auto", "source"):
        return cast(mx.Dtype, getattr(mx, wanted.dtype))
    if wanted.dtype == "source":
        return _most_common(checkpoint, FLOATS) or mx.float32
    half = _half_precision(checkpoint) if checkpoint.origin.kind == "gguf" else None
    if half is not None:
        return half
    if needs_bfloat16(checkpoint.config):
        return mx.bfloat16
    return cast(mx.Dtype, getattr(mx, device.preferred_dtype(device.detect())))


def _half_precision(checkpoint: SourceCheckpoint) -> mx.Dtype | None:
    """The half precision that most tensors of a GGUF are in; None if it holds float32 alone."""
    # Types that MLX cannot hold come dequantized, and have float16 scales in the file.
    return _most_common(checkpoint, HALVES) or (mx.float16 if checkpoint.requantized else None)


def _most_common(checkpoint: SourceCheckpoint, among: tuple[mx.Dtype, ...]) -> mx.Dtype | None:
    counts = Counter(
        tensor.dtype
        for name, tensor in checkpoint.tensors.items()
        if tensor.dtype in among
        and name.removesuffix(".weight") not in checkpoint.requantized
        # Exact zero points of packed modules, which join their scales.
        and name.removesuffix(".biases") not in checkpoint.quantization
    )
    return counts.most_common(1)[0][0] if counts else None


def _kept_dtypes(half: mx.Dtype, decision: Decision) -> TargetDtype:
    def choose(name: str, tensor: LazyTensor) -> mx.Dtype:
        if tensor.dtype != mx.float32:
            return tensor.dtype
        if name.removesuffix(".weight") in decision.layers:
            return half
        return half if len(tensor.shape) == 1 and _survives(tensor.read(), half) else mx.float32

    return choose


def _survives(values: mx.array, dtype: mx.Dtype) -> bool:
    return bool(mx.array_equal(values.astype(dtype).astype(values.dtype), values).item())
