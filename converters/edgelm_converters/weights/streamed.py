"""Running a model that was not loaded: weights are read when a layer runs, and dropped after it.

Memory holds one layer, the embedding and the head, and the hidden states of all rows at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from edgelm.errors import UnsupportedError
from edgelm.evaluate.reference import Reference
from edgelm.evaluate.rows import Row
from edgelm.quant.hooks import Call, hook
from edgelm.zoo.body_and_head import cut
from edgelm_converters.sources.checkpoint import LazyTensor


def lazy_weights(tensors: Mapping[str, LazyTensor]) -> dict[str, mx.array]:
    """Give all tensors, unread where the source can, floats as float32."""
    return {
        name: array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array
        for name, array in ((name, tensor.read()) for name, tensor in tensors.items())
    }


def load_lazily(network: Any, weights: dict[str, mx.array]) -> None:
    """Give `network` its weights, unread. Takes them over: its references must be the last ones."""
    network.load_weights(list(weights.items()), strict=True)
    weights.clear()
    network.eval()


def forget_layers(network: Any) -> None:
    """Make every layer of `network` evaluate its output when it is called, and drop its weights: it runs once."""
    for layer in network.layers:
        _run_and_forget(layer)


def run_streamed(network: Any, weights: dict[str, mx.array], rows: Sequence[Row]) -> Reference:
    """Compute the final hidden states of `rows`, which have one length, by a network that was not loaded.

    Args:
        network: fresh; used up. `weights` are under its names, unread, and taken over.

    Raises:
        UnsupportedError: the architecture's head cannot be told from its body.
    """
    load_lazily(network, weights)
    halves = cut(network, is_loaded=False)
    if halves is None:
        raise UnsupportedError(
            f"{type(network).__module__} makes its logits in a way that cannot be streamed"
        )
    forget_layers(network)
    hidden = halves.hidden(mx.array([row.ids[:-1] for row in rows]))
    mx.eval(hidden)
    return Reference.of_states(rows, list(hidden), halves.head)


def _run_and_forget(layer: Any) -> None:
    """Make `layer` evaluate its output when it is called, and drop its weights.

    Left to itself MLX reads most of the model before it multiplies.
    """

    def run(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        output = own(*arguments, **named)
        mx.eval(output)
        layer.update(tree_map(lambda _: mx.zeros(()), layer.parameters()))
        return output

    hook(layer, run)
