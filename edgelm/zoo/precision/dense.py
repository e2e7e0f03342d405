"""Quantized layers of a network as dense ones of the same values."""

from __future__ import annotations

import threading
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from edgelm.zoo.stop import check_stop

LARGEST_NVFP4 = 448.0 * 6.0
"""The largest scale times the largest code: what the largest weight under a global scale becomes (MLX, `quantize`)."""


def dequantize(network: Any, dtype: mx.Dtype, stop: threading.Event | None = None) -> None:
    """Replace quantized linear, embedding and expert layers by dense ones of the same values, in place.

    One module at a time. Scales should be float32 beforehand: codes times scale is then exact enough
    to equal the reference dequantization.
    """
    kinds = _dense_kinds()
    replaced = []
    for path, module in network.named_modules():
        dense_kind = kinds.get(type(module))
        if dense_kind is not None:
            check_stop(stop)
            replaced.append((path, _dense(module, dense_kind, dtype)))
    if replaced:
        network.update_modules(tree_unflatten(replaced))


def dense_module(module: Any, weight: mx.array) -> Any:
    """Make a dense module in place of a quantized one, with `weight`."""
    return _with_weight(module, _dense_kinds()[type(module)], weight)


def _dense_kinds() -> dict[type, Any]:
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

    return {
        nn.QuantizedLinear: nn.Linear,
        nn.QuantizedEmbedding: nn.Embedding,
        QuantizedSwitchLinear: SwitchLinear,
    }


def _dense(module: Any, kind: Any, dtype: mx.Dtype) -> Any:
    packed = (module.weight, module.scales, module.get("biases"))
    per_expert = module.get("global_scale")  # which MLX multiplies by on a GPU alone
    exact = dtype if per_expert is None else mx.float32
    weight = mx.dequantize(*packed, module.group_size, module.bits, module.mode, dtype=exact)
    if per_expert is not None:
        weight = (weight * (per_expert.astype(mx.float32) / LARGEST_NVFP4)[:, None, None]).astype(dtype)
    mx.eval(weight)
    return _with_weight(module, kind, weight)


def _with_weight(module: Any, kind: Any, weight: mx.array) -> Any:
    # The constructor would draw random weights of the full size; only the attributes are wanted.
    dense = kind.__new__(kind)
    nn.Module.__init__(dense)  # type: ignore[no-untyped-call]
    dense.weight = weight
    if "bias" in module:
        dense.bias = module.bias
    dense.eval()
    return dense
