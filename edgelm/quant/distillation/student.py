"""A network that holds codes as bytes and makes each layer's weights of them when the layer runs, with gradients.

Layers are checkpointed, so memory is a byte a weight, the hidden states of one row, and one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from edgelm.quant.hooks import Call, Handler, hook
from edgelm.quant.matrix.formats import Packed
from edgelm.quant.scheme import Settings, is_affine


class Unpacked(nn.Module):
    """The weight of a quantized layer as codes, scales and biases, in a form that has gradients."""

    def __init__(self, packed: Packed, settings: Settings, bias: mx.array | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.scales = packed["scales"].astype(mx.float32)
        self.biases = packed["biases"].astype(mx.float32)
        # A leading underscore keeps the codes from being parameters.
        self._codes = _codes(packed, settings)
        self._group = settings["group_size"]
        if bias is not None:
            self.bias = bias

    @property
    def weight(self) -> mx.array:
        """[..., R, C] in float32."""
        return self._unpack(self._codes, self.scales, self.biases)

    def _unpack(self, codes: mx.array, scales: mx.array, biases: mx.array) -> mx.array:
        grouped = codes.reshape(*scales.shape, self._group).astype(mx.float32)
        return (grouped * scales[..., None] + biases[..., None]).reshape(codes.shape)


class UnpackedLinear(Unpacked):
    """Stands in for `nn.Linear`."""

    def __call__(self, x: mx.array) -> mx.array:
        y = x @ self.weight.T
        return y + self.bias if "bias" in self else y


class UnpackedEmbedding(Unpacked):
    """Stands in for `nn.Embedding`."""

    def __call__(self, ids: mx.array) -> mx.array:
        return self._unpack(self._codes[ids], self.scales[ids], self.biases[ids])

    def as_linear(self, x: mx.array) -> mx.array:
        """Compute logits [..., V] from hidden states [..., C]: the embedding as the head."""
        return x @ self.weight.T


class UnpackedSwitch(Unpacked):
    """Stands in for mlx-lm's `SwitchLinear`."""

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        weight = self.weight.swapaxes(-1, -2)
        y = mx.gather_mm(x, weight, rhs_indices=indices, sorted_indices=sorted_indices)
        return y + mx.expand_dims(self.bias[indices], -2) if "bias" in self else y


_FORMS: dict[str, type[Unpacked]] = {
    "Linear": UnpackedLinear,
    "Embedding": UnpackedEmbedding,
    "SwitchLinear": UnpackedSwitch,
}


def make_student(
    network: Any, packed: Callable[[str], Packed], settings: Mapping[str, Settings]
) -> dict[str, mx.array]:
    """Turn `network` (with the source's other parameters in it) into a student, in place.

    Modules of kinds that have no form here, and those not in mode affine, keep dense weights that are not trained.

    Returns:
        The parameters to train, by path: scales, biases and vectors (norms).
    """
    replaced = []
    for path, module in network.named_modules():
        module_settings = settings.get(path)
        form = _FORMS.get(type(module).__name__)
        if module_settings is not None and form is not None and is_affine(module_settings):
            replaced.append((path, form(packed(path), module_settings, module.get("bias"))))
    network.update_modules(tree_unflatten(replaced))
    for layer in network.layers:
        hook(layer, _checkpointed(layer))
    network.freeze()
    for path, module in network.named_modules():
        if isinstance(module, Unpacked):
            module.unfreeze(keys=["scales", "biases"], recurse=False)
        elif "weight" in module and module.weight.ndim == 1 and not path.endswith("rotary_emb"):
            module.unfreeze(keys=["weight"], recurse=False)
    flat: Any = tree_flatten(network.trainable_parameters())
    return dict(flat)


def _checkpointed(layer: Any) -> Handler:
    def handle(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        def run(parameters: Any, *inner: Any, **also: Any) -> Any:
            layer.update(parameters)
            return own(*inner, **also)

        return mx.checkpoint(run)(layer.trainable_parameters(), *arguments, **named)

    return handle


def _codes(packed: Packed, settings: Settings) -> mx.array:
    """The codes [..., R, C] as bytes: what unit scales and no biases would unpack to."""
    shape = packed["scales"].shape
    codes = mx.dequantize(
        packed["weight"], mx.ones(shape), mx.zeros(shape), settings["group_size"], settings["bits"]
    )
    codes = codes.astype(mx.uint8)
    mx.eval(codes)
    return codes
