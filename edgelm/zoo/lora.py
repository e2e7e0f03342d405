"""mlx-lm's LoRA and DoRA layers around the modules of a network.

A wrapped module keeps its base as `linear` or `embedding`, so that parameters have the paths stock mlx-lm gives them:
`model.layers.0.self_attn.q_proj.lora_a`. Knows nothing about files or training.

Shapes: I inputs, O outputs, R rank, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.nn as nn
from mlx.utils import tree_unflatten

from edgelm.errors import UnsupportedError
from edgelm.zoo.guards import keep_file_limit

LEAVES = ("lora_a", "lora_b", "m")
"""Parameters of an adapter, as the last part of their path: `[I, R]`, `[R, O]` (experts `[E, R, I]`, `[E, O, R]`), `[O]`."""


def adaptable(network: Any) -> dict[str, Any]:
    """Return the modules that can have an adapter, by path."""
    kinds = _kinds()
    wrapped = tuple(path for path, module in network.named_modules() if hasattr(module, "lora_a"))
    return {
        path: module
        for path, module in network.named_modules()
        if isinstance(module, kinds) and not path.startswith(tuple(f"{outer}." for outer in wrapped))
    }


def is_layer_of_experts(module: Any) -> bool:
    """Return whether `module` holds a weight for each expert, `[E, O, I]`, and is told which of them each token chooses."""
    with keep_file_limit():
        from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
    return isinstance(module, SwitchLinear | QuantizedSwitchLinear)


def _kinds() -> tuple[type, ...]:
    with keep_file_limit():
        from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
    return (
        nn.Linear, nn.QuantizedLinear, nn.Embedding, nn.QuantizedEmbedding, SwitchLinear, QuantizedSwitchLinear,
    )  # fmt: skip


def wrap(path: str, module: Any, *, rank: int, scale: float, dropout: float = 0.0, dora: bool = False) -> Any:
    """Make a LoRA (or DoRA) layer around `module`; its `lora_b` is zero, so that nothing changes yet.

    Raises:
        UnsupportedError: mlx-lm has no such adapter for this kind of module.
    """
    with keep_file_limit():
        from mlx_lm.tuner.dora import DoRAEmbedding
        from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear
    settings = {"r": rank, "scale": scale, "dropout": dropout}
    is_embedding = isinstance(module, nn.Embedding | nn.QuantizedEmbedding)
    if isinstance(module, nn.Linear | nn.QuantizedLinear):
        return _dora_linear(module, settings) if dora else LoRALinear.from_base(module, **settings)
    if dora and not is_embedding:
        raise UnsupportedError(
            f"{path} is a layer of experts, for which there is no DoRA", hint="choose other targets, or lora"
        )
    if dora and isinstance(module, nn.QuantizedEmbedding):
        raise UnsupportedError(
            f"{path} is a quantized embedding, for which there is no DoRA",
            hint="choose other targets, or lora",
        )
    if is_embedding:
        return (DoRAEmbedding if dora else LoRAEmbedding).from_base(module, **settings)
    return LoRASwitchLinear.from_base(module, **settings)


def _dora_linear(linear: Any, settings: Mapping[str, Any]) -> Any:
    """`DoRALinear.from_base`, which counts the inputs of 3, 5 and 6-bit layers wrongly (dora.py:22)."""
    from mlx_lm.tuner.dora import DoRALinear

    outputs, inputs = linear.weight.shape
    if isinstance(linear, nn.QuantizedLinear):
        inputs = inputs * 32 // linear.bits
    layer = DoRALinear(input_dims=inputs, output_dims=outputs, **settings)
    layer.set_linear(linear)
    return layer


def is_plain_lora(layer: Any) -> bool:
    """Return whether `layer` adds `scale · x · lora_a · lora_b` to its base's output, and nothing else."""
    from mlx_lm.tuner.lora import LoRALinear

    return type(layer) is LoRALinear


def install(network: Any, modules: Mapping[str, Any]) -> None:
    """Put `modules` at their paths."""
    network.update_modules(tree_unflatten(list(modules.items())))
