"""What an adapter adds to a weight, dense or as two thin factors.

Shapes: I inputs, O outputs, R rank, E experts, N entries of a vocabulary, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from edgelm.adapters.files import Adapter


@dataclass(frozen=True)
class LowRankDelta:
    """`left @ right`: what a LoRA adds to the transpose of a weight, its scale included."""

    left: mx.array
    """float32 `[I, R]`; experts `[E, I, R]`."""
    right: mx.array
    """float32 `[R, O]`; experts `[E, R, O]`."""

    @property
    def product(self) -> mx.array:
        """`[I, O]` or `[E, I, O]`."""
        return self.left @ self.right


def factors(adapter: Adapter, module: str, weight: float = 1.0) -> LowRankDelta:
    """Return the two factors of what a LoRA adds to the transpose of one module's weight, times `weight`."""
    tensors = adapter.tensors_of(module)
    left, right = (tensors[leaf].astype(mx.float32) for leaf in ("lora_a", "lora_b"))
    if left.ndim == 3:  # experts are kept transposed
        left, right = left.swapaxes(-1, -2), right.swapaxes(-1, -2)
    return LowRankDelta(left, right * (adapter.config.scale * weight))


def dense_delta(
    adapter: Adapter, module: str, base: mx.array, *, is_embedding: bool, weight: float = 1.0
) -> mx.array:
    """Return what the adapter adds to the weight `base` (`[O, I]`, `[E, O, I]` or `[N, D]`), in float32.

    DoRA: Liu et al. 2024 (arXiv:2402.09353): m · (W + sBA) / ‖W + sBA‖ − W.
    """
    product = factors(adapter, module).product
    # An embedding's table is [N, D] = lora_a @ lora_b; a linear weight is the transpose.
    delta = product if is_embedding else product.swapaxes(-1, -2)
    if adapter.config.kind == "dora":
        whole = base.astype(mx.float32)
        adapted = whole + delta
        magnitude = adapter.tensors_of(module)["m"].astype(mx.float32)
        delta = (magnitude / mx.linalg.norm(adapted, axis=-1))[:, None] * adapted - whole
    return delta * weight


def dense_weight(module: Any) -> mx.array:
    """Return the weight of a linear, embedding or expert layer in float32, unpacked where it is quantized."""
    if "scales" not in module:
        found: mx.array = module.weight.astype(mx.float32)
        return found
    return mx.dequantize(
        module.weight,
        module.scales.astype(mx.float32) if module.mode == "affine" else module.scales,
        module.biases.astype(mx.float32) if module.get("biases") is not None else None,
        module.group_size,
        module.bits,
        module.mode,
        dtype=mx.float32,
    )


def is_embedding(module: Any) -> bool:
    """Return whether a module looks rows up."""
    return isinstance(module, nn.Embedding | nn.QuantizedEmbedding)
