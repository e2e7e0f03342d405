"""What a conversion will write, worked out from shapes alone.

The network is filled with placeholders and quantized lazily: MLX's own shape inference then says every
tensor's name, shape and type, so that headers, disk space and bits per weight are known before a
weight is read, and a missing, extra or misshapen tensor is named before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm.errors import FormatError
from edgelm.quant.apply import Decision, apply_settings, quantizable
from edgelm.quant.scheme import Settings
from edgelm.zoo.protocol import may_cast
from edgelm.zoo.tree import flat_parameters
from edgelm.zoo.weights.safetensors_header import TensorInfo
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.targets.mlx.shard import DTYPE_NAMES, Layout, size_bytes

TargetDtype = Callable[[str, LazyTensor], mx.Dtype]
"""(input name, tensor) → the dtype it is cast to."""


@dataclass(frozen=True)
class OutputPlan:
    """Everything about the output but the weights themselves."""

    layout: Layout
    """Every tensor of the output in order of writing."""
    modules: Mapping[str, Any]
    """Module path → the unquantized module whose `to_quantized` makes the output."""
    quantize: Mapping[str, Settings]
    """Module path → settings, for modules that are quantized now."""
    packed: Mapping[str, Settings]
    """Module path → settings, for modules the source holds packed already."""
    inputs: Mapping[str, LazyTensor]
    """Source tensors under the network's names."""
    dtypes: Mapping[str, mx.Dtype]
    """Input name → the dtype it is cast to when it is read."""
    parameters: int
    """Weights of the model, unpacked."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors of the output."""
        return sum(size_bytes(*entry) for entry in self.layout.values())

    @property
    def headers(self) -> dict[str, TensorInfo]:
        """Every tensor of the output as a safetensors header would describe it, without offsets."""
        return {
            name: TensorInfo(DTYPE_NAMES[dtype], shape, 0, size_bytes(shape, dtype))
            for name, (shape, dtype) in self.layout.items()
        }

    @property
    def bits_per_weight(self) -> float:
        """Bits of the output for each parameter, scales and unquantized tensors included."""
        return self.size_bytes * 8 / self.parameters


def stored_bytes(plan: OutputPlan, path: str) -> int:
    """Count the bytes of the weight of the module at `path`, with its scales and biases where it is packed."""
    names = (f"{path}.{kind}" for kind in ("weight", "scales", "biases"))
    return sum(size_bytes(*plan.layout[name]) for name in names if name in plan.layout)


def make_plan(
    network: Any,
    inputs: Mapping[str, LazyTensor],
    packed: Mapping[str, Settings],
    decision: Decision,
    target_dtype: TargetDtype,
) -> OutputPlan:
    """Plan writing `inputs` as the parameters of `network`.

    Args:
        network: an unquantized mlx-lm network; it is quantized lazily, in place.
        packed: modules that the source holds packed already.
        decision: what to quantize now; packed modules in it are left as they are.
        target_dtype: what each floating tensor is cast to, unless the architecture forbids it.

    Raises:
        FormatError: a tensor is missing, not known to the architecture, or of the wrong shape or type.
    """
    apply_settings(network, dict(packed))
    _check_names(flat_parameters(network), inputs)
    dtypes = {name: _target(network, name, tensor, target_dtype) for name, tensor in inputs.items()}
    placeholders = [(name, mx.zeros(tensor.shape, dtypes[name])) for name, tensor in inputs.items()]
    network.load_weights(placeholders, strict=True)
    modules = {path: module for path, module in quantizable(network).items() if path in decision.layers}
    parameters = sum(_unpacked_size(name, tensor, packed) for name, tensor in inputs.items())
    apply_settings(network, decision.layers)
    layout = {name: (tuple(array.shape), array.dtype) for name, array in flat_parameters(network).items()}
    return OutputPlan(layout, modules, decision.layers, packed, inputs, dtypes, parameters)


def _target(network: Any, name: str, tensor: LazyTensor, target_dtype: TargetDtype) -> mx.Dtype:
    if mx.issubdtype(tensor.dtype, mx.floating) and may_cast(network, name):
        return target_dtype(name, tensor)
    return tensor.dtype


def _unpacked_size(name: str, tensor: LazyTensor, packed: Mapping[str, Settings]) -> int:
    path, _, kind = name.rpartition(".")
    count = size_bytes(tensor.shape, mx.uint8)
    if path in packed:
        return {"weight": count * 32 // int(packed[path]["bits"]), "scales": 0, "biases": 0}.get(kind, count)
    return count


def _check_names(wanted: Mapping[str, mx.array], inputs: Mapping[str, LazyTensor]) -> None:
    missing = sorted(set(wanted) - set(inputs))
    extra = sorted(set(inputs) - set(wanted))
    shapes = [
        f"{name} is {inputs[name].shape}, expected {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(inputs))
        if inputs[name].shape != tuple(wanted[name].shape)
    ]
    kinds = [
        f"{name} is {inputs[name].stored_as or inputs[name].dtype}"
        for name in sorted(set(wanted) & set(inputs))
        if mx.issubdtype(wanted[name].dtype, mx.floating) != mx.issubdtype(inputs[name].dtype, mx.floating)
    ]
    faults = [
        f"{label}: {_some(names)}"
        for label, names in (
            ("missing", missing),
            ("not known to the architecture", extra),
            ("wrong shape", shapes),
            ("wrong type", kinds),
        )
        if names
    ]
    if faults:
        raise FormatError(
            "the weights do not match the config; " + "; ".join(faults),
            hint="the config may belong to another model, or a shard is incomplete",
        )


def _some(names: list[str], limit: int = 5) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
