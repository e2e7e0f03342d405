"""Calls of a network that stop at a layer, with kept hidden states put in before it.

The network's layers are hooked: those before the target of a visit let their input pass, and the target gets the hidden
states of the visit in place of what reached it, together with whatever the network itself hands to it. MLX is lazy, so
nothing before the target is ever computed. Embeddings, and linear layers outside the layers, can be stood in for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import mlx.core as mx
import mlx.nn as nn

from edgelm.quant.hooks import Call, Handler, hook, hook_method
from edgelm.quant.streams.states import State, returned_with, unsupported

StandIn = Callable[[mx.array], mx.array]
"""Computes what a module outside the layers computes: token ids → vectors, or a linear layer's [..., C] → [..., R]."""


class _Reached(Exception):  # noqa: N818 - not an error: it ends a call that has reached what it was made for
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def end_visit(value: Any) -> NoReturn:
    """End the visit under way; its `visit` returns `value`."""
    raise _Reached(value)


@dataclass
class Visit:
    """One call of the network: up to which layer, with what put in, and what is done there."""

    target: int
    state: State | None
    """What is put in before the target; None: what the network itself computes before the layers."""
    at_layer: Callable[[int, Call, tuple[Any, ...], dict[str, Any]], Any] | None = None
    """Called in place of the layer and instead of ending the visit."""
    at_head: Callable[[str, mx.array], None] | None = None
    """Called with the path of the output head and what reaches it."""
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)
    is_past_layers: bool = False


class VisitedNetwork:
    """A network whose calls follow the visit under way.

    Args:
        layers: its layers in order, and `paths` their paths.
    """

    def __init__(self, network: Any, layers: Sequence[Any], paths: Sequence[str]) -> None:
        self._network, self._last = network, len(layers) - 1
        self._visit = Visit(0, None)
        self.embeddings: list[str] = []
        """Paths of the modules outside the layers that look tokens up."""
        for index, layer in enumerate(layers):
            hook(layer, self._layer_handler(index))
        self._hook_outside(tuple(f"{path}." for path in paths))

    def visit(self, ids: mx.array, visit: Visit) -> Any:
        """Call the network on `ids` [B, T] as `visit` says; gives what it returns, or what the visit ended with."""
        before, self._visit = self._visit, visit
        try:
            return self._network(ids)
        except _Reached as reached:
            return reached.value
        finally:
            self._visit = before

    def _layer_handler(self, index: int) -> Handler:
        def handle(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            visit = self._visit
            if not arguments or not isinstance(arguments[0], mx.array):
                raise unsupported(f"layer {index} is called without hidden states")
            if index < visit.target:
                visit.is_past_layers = index == self._last
                return _passed(visit, index, arguments[0])
            if visit.at_layer is not None:
                return visit.at_layer(index, own, arguments, named)
            assert visit.state is not None
            end_visit(own(visit.state["hidden"], *arguments[1:], **named))

        return handle

    def _hook_outside(self, inside: tuple[str, ...]) -> None:
        """Watch what may turn hidden states into logits: linear layers outside the layers, `as_linear`."""
        for path, module in self._network.named_modules():
            if path.startswith(inside):
                continue
            if hasattr(module, "as_linear"):
                self.embeddings.append(path)
                hook(module, self._embedding_handler(path))
                hook_method(module, "as_linear", self._head_handler(path))
            elif isinstance(module, nn.Linear):
                hook(module, self._linear_handler(path))

    def _embedding_handler(self, path: str) -> Handler:
        def handle(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return self._standing_in(path, own)(*arguments, **named).astype(mx.float32)

        return handle

    def _linear_handler(self, path: str) -> Handler:
        watched = self._head_handler(path)

        def handle(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return watched(self._standing_in(path, own), arguments, named)

        return handle

    def _standing_in(self, path: str, own: Call) -> Call:
        return self._visit.stand_ins.get(path, own)

    def _head_handler(self, path: str) -> Handler:
        def handle(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            visit = self._visit
            if visit.at_head is not None and visit.is_past_layers:
                visit.at_head(path, arguments[0])
            return own(*arguments, **named)

        return handle


def _passed(visit: Visit, index: int, hidden: mx.array) -> Any:
    """What layer `index` is taken to return: the kept states where it is the last before the target."""
    assert visit.state is not None
    last = visit.state["hidden"] if index == visit.target - 1 else hidden
    return returned_with(visit.state, index, last)
