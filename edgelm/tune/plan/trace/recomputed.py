"""The gradient of a network whose layers are recomputed, written so that MLX can export it.

`edgelm.tune.step.recompute` uses `mx.checkpoint`, whose primitive cannot be exported. This does by hand what it does:
layers run forward without a gradient, and backward each is run again from its kept input, any time after it ran first.
Only for pricing, for networks whose layers follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from edgelm.zoo.tree import flat_arrays, flat_trainable

Tree = Any
Sums = Callable[[], Any]
"""The surrogate loss and the loss of the network as it is."""


class _Reached(Exception):  # noqa: N818 - control flow: the first layer's input is there
    pass


@dataclass
class _Call:
    layer: Any
    kind: type
    args: list[Any]
    kwargs: dict[str, Any]
    output: mx.array | None = None
    """What the first run gave."""

    @property
    def hidden(self) -> mx.array:
        """What the layer before gave."""
        hidden: mx.array = self.args[0]
        return hidden

    def run(self, names: Sequence[str], values: Sequence[mx.array]) -> mx.array:
        """Return the layer with these parameters, on this input (the last of `values`)."""
        kept = self.layer.trainable_parameters()
        self.layer.update(tree_unflatten(list(zip(names, values[:-1], strict=True))))
        result: mx.array = self.kind.__call__(self.layer, values[-1], *self.args[1:], **self.kwargs)
        self.layer.update(kept)
        return result


def differentiate(network: Any, parameters: Tree, sums: Sums) -> tuple[Tree, mx.array]:
    """Return the gradient of the surrogate with respect to `parameters`, and the loss.

    Args:
        network: its `layers` are called in order, each with what the one before gave.
        sums: runs the network and makes the loss.
    """
    calls: list[_Call] = []
    slope = mx.zeros_like(_last_output(network, parameters, sums))

    def surrogate(tree: Tree, added: mx.array) -> Any:
        network.update(tree)
        calls.clear()
        with _recording(network.layers, calls, added):
            return sums()

    (_, loss, _), (tree, slope) = mx.value_and_grad(surrogate, argnums=(0, 1))(parameters, slope)
    network.update(parameters)
    gradients = flat_arrays(tree)
    paths = {id(module): path for path, module in network.named_modules()}
    inside: dict[str, mx.array] = {}
    for call in reversed(calls):
        grads, slope = _backward(call, slope)
        inside |= {f"{paths[id(call.layer)]}.{name}": grad for name, grad in grads.items()}
    outside = [name for name in gradients if name not in inside]
    for name, grad in _prefix(network, parameters, sums, slope, outside).items():
        gradients[name] = gradients[name] + grad
    return tree_unflatten(list({**gradients, **inside}.items())), loss


def _backward(call: _Call, slope: mx.array) -> tuple[dict[str, mx.array], mx.array]:
    """Gradients of a layer's parameters by name, and of its input."""
    flat = flat_trainable(call.layer)
    assert call.output is not None
    # As MLX's checkpoint has it: on the output, not on the gradient.
    primals = mx.depends([*flat.values(), call.hidden], [call.output])
    _, grads = mx.vjp(lambda *values: call.run(list(flat), values), primals, [slope])
    return dict(zip(flat, grads[:-1], strict=True)), grads[-1]


def _prefix(
    network: Any, parameters: Tree, sums: Sums, slope: mx.array, names: Sequence[str]
) -> dict[str, mx.array]:
    """What the way to the first layer adds to the gradients of `names`: a trained embedding."""
    if not names:
        return {}

    def reached(tree: Tree) -> mx.array:
        network.update(tree)
        return (_first_input(network, sums) * mx.stop_gradient(slope)).sum()

    gradient = flat_arrays(mx.grad(reached)(parameters))
    network.update(parameters)
    return {name: gradient[name] for name in names}


def _first_input(network: Any, sums: Sums) -> mx.array:
    calls: list[_Call] = []
    with _recording(network.layers, calls, None):
        try:
            sums()
        except _Reached:
            return calls[0].hidden
    raise ValueError("the network never called its first layer")


def _last_output(network: Any, parameters: Tree, sums: Sums) -> mx.array:
    """Return an array of the shape and type that layers have; it is never evaluated."""
    hidden = _first_input(network, sums)
    network.update(parameters)
    return hidden


@contextmanager
def _recording(layers: Sequence[Any], calls: list[_Call], added: mx.array | None) -> Iterator[None]:
    """While the block runs, layers note how they are called and pass no gradient on.

    The last adds `added`, whose gradient is then that of its output. None: the first call raises `_Reached`.
    """
    kinds = [type(layer) for layer in layers]
    try:
        for layer, kind in zip(layers, kinds, strict=True):
            layer.__class__ = _noting(kind, calls, added, is_last=layer is layers[-1])
        yield
    finally:
        for layer, kind in zip(layers, kinds, strict=True):
            layer.__class__ = kind


def _noting(kind: type, calls: list[_Call], added: mx.array | None, *, is_last: bool) -> type:
    def call(self: Any, *args: Any, **kwargs: Any) -> mx.array:
        noted = _Call(self, kind, list(args), kwargs)
        calls.append(noted)
        if added is None:
            raise _Reached
        noted.output = mx.stop_gradient(kind.__call__(self, *args, **kwargs))
        return noted.output + added if is_last else noted.output

    return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
