"""From what was asked and what the source holds to a decision for every layer and a dtype for every tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from edgelm import device
from edgelm.quant.apply import Decision, decide, quantizable
from edgelm.quant.recipes import mixed_predicate
from edgelm_converters.checkpoint import Checkpoint, LazyTensor
from edgelm_converters.conversion import Conversion

NEEDS_BFLOAT16 = ("gemma", "t5")
"""Architectures whose activations overflow float16 (65504)."""

TargetDtype = Callable[[str, LazyTensor], mx.Dtype]


def decide_layers(
    network: Any, checkpoint: Checkpoint, wanted: Conversion, packed: Mapping[str, Any]
) -> Decision:
    """How each layer of the unquantized `network` is quantized now; `packed` ones are left as they are."""
    if packed and wanted.keeps_packed:
        modules = quantizable(network)
        layers = {path: settings for path, settings in checkpoint.requantized.items() if path in modules}
        return Decision(layers=layers, asked=dict(layers))
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


def choose_dtypes(
    checkpoint: Checkpoint, wanted: Conversion, packed: Mapping[str, Any], decision: Decision
) -> TargetDtype:
    """The dtype that each floating tensor is cast to.

    "auto" is what runs fastest on this machine, but never loses what a packed source holds: there the
    scales stay as stored, and float32 vectors join their dtype only if every value survives.
    """
    if wanted.dtype not in ("auto", "source"):
        explicit = getattr(mx, wanted.dtype)
        return lambda _, tensor: explicit
    if wanted.dtype == "source" or (packed and checkpoint.origin.kind != "gguf"):
        return lambda _, tensor: tensor.dtype
    if checkpoint.origin.kind == "gguf":
        return _gguf_dtypes(checkpoint, decision)
    preferred = device.preferred_dtype(device.detect())
    if str(checkpoint.config["model_type"]).startswith(NEEDS_BFLOAT16):
        preferred = "bfloat16"
    return lambda _, tensor: getattr(mx, preferred)


def _gguf_dtypes(checkpoint: Checkpoint, decision: Decision) -> TargetDtype:
    stored = Counter(t.dtype for t in checkpoint.tensors.values() if t.dtype in (mx.float16, mx.bfloat16))
    prevailing = stored.most_common(1)[0][0] if stored else mx.float32

    def choose(name: str, tensor: LazyTensor) -> mx.Dtype:
        if tensor.dtype != mx.float32 or name.removesuffix(".weight") in decision.layers:
            return prevailing if tensor.dtype == mx.float32 else tensor.dtype
        return prevailing if len(tensor.shape) == 1 and _survives(tensor.read(), prevailing) else tensor.dtype

    return choose


def _survives(values: mx.array, dtype: mx.Dtype) -> bool:
    return bool(mx.array_equal(values.astype(dtype).astype(values.dtype), values).item())
