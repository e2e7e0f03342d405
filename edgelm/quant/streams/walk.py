"""Running a network one layer at a time, by its own forward, for any architecture of mlx-lm.

The network's layers are hooked. To run layer i on a batch, the network is called on the batch's token ids: layers
before i let their input pass, layer i gets the hidden states that were kept of layer i − 1 in place of
what reached it, together with whatever the network itself hands to it (masks, positions, per-layer
inputs), and the call ends there. MLX is lazy, so nothing but layer i is ever computed. Parameters are loaded
for one layer at a time, and kept hidden states belong to named streams ("source", "quantized", …), so that the same
layer can be run with other parameters on other inputs.

Assumed, and checked by `check`: what a layer gets is a function of the ids, of the layer's position, of the hidden
states before it and of what earlier layers returned beside them (shared keys and values).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from edgelm.errors import UnsupportedError
from edgelm.quant.hooks import Call, Handler, hook, hook_method
from edgelm.quant.streams.activations import Activations
from edgelm.zoo.protocol import Network, layer_paths

CHECK_TOKENS = 8
CHECK_TOLERANCE = 1e-4
"""Relative to the largest hidden state: float32 with another order of sums."""

State = dict[str, Any]
"""`{"hidden": [B, T, C], "beside": {layer: what it returned beside hidden states}}`; the latter may be missing."""


StandIn = Callable[[mx.array], mx.array]
"""Computes what a module outside the layers computes: token ids → vectors, or a linear layer's [..., C] → [..., R]."""


class _Reached(Exception):  # noqa: N818 - not an error: it ends a call that has reached what it was made for
    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found


@dataclass
class _Visit:
    """One call of the network: up to which layer, with what put in, and what is done there."""

    target: int
    state: State | None
    """None: what the network itself computes before the layers."""
    at_layer: Callable[[int, Call, tuple[Any, ...], dict[str, Any]], Any] | None = None
    """In place of the layer's call and the end of the visit."""
    at_head: Callable[[str, mx.array], None] | None = None
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)
    is_past_layers: bool = False


class Walk:
    """The layers of a network, run one by one.

    Args:
        network: an mlx-lm network with any parameters.
        read: gives a parameter by its path, in the dtype it will be stored in.
        batches: token ids, [B, T] each.
        activations: where hidden states are kept.

    Raises:
        UnsupportedError: one layer serves at several depths.
    """

    def __init__(
        self,
        network: Network,
        read: Callable[[str], mx.array],
        batches: Sequence[mx.array],
        activations: Activations,
    ) -> None:
        self.network, self.read, self.batches, self.activations = network, read, batches, activations
        self.layers: list[Any] = list(network.layers)
        self.paths = layer_paths(network)
        if len(set(self.paths)) != len(self.paths):
            raise _unsupported("it uses one layer at several depths")
        flat: Any = tree_flatten(network.parameters())
        self.names = [[name for name, _ in flat if name.startswith(f"{path}.")] for path in self.paths]
        inside = {name for layer in self.names for name in layer}
        self.outside = [name for name, _ in flat if name not in inside]
        self.embeddings: list[str] = []
        """Paths of the modules outside the layers that look tokens up."""
        self.head: str | None = None
        """Path of the module that turns hidden states into logits; `check` finds it. None if none is seen."""
        self._dtypes: dict[str, mx.Dtype] = {}
        self._stand_ins: dict[str, Mapping[str, StandIn]] = {}
        self._visit = _Visit(0, None)
        for index, layer in enumerate(self.layers):
            hook(layer, self._layer_handler(index))
        self._hook_heads()

    def load(self, index: int | None) -> dict[str, mx.array]:
        """Read the parameters of layer `index` (None: of all outside the layers) and put them into the network."""
        names = self.outside if index is None else self.names[index]
        parameters = {}
        for name in names:
            value = self.read(name)
            self._dtypes[name] = value.dtype
            parameters[name] = _as_float(value, keep_matrices=index is None)
            mx.eval(parameters[name])
        self.use(parameters)
        return parameters

    def read_dtype(self, name: str) -> mx.Dtype:
        """What a loaded parameter is stored in."""
        return self._dtypes[name]

    def use(self, parameters: Mapping[str, mx.array]) -> None:
        """Put `parameters` into the network in place of what is there."""
        self.network.update(tree_unflatten(list(parameters.items())))

    def unload(self, index: int) -> None:
        """Forget the parameters of layer `index`."""
        layer = self.layers[index]
        layer.update(tree_map(lambda _: mx.zeros(()), layer.parameters()))

    def begin(
        self,
        stream: str,
        stand_ins: Mapping[str, StandIn] | None = None,
        batches: Sequence[int] | None = None,
    ) -> None:
        """Keep the hidden states that reach the first layer, under the loaded outer parameters, as `stream`.

        Args:
            stand_ins: path of an embedding or a linear layer → what computes instead of it, for this stream and from
                now on (the network may hand something of theirs to every layer); not for an embedding as the head.
            batches: those that the stream is of; None: all.
        """
        self._stand_ins[stream] = stand_ins or {}
        for batch in self._numbers(batches):
            ids = self.batches[batch]
            hidden = self._call(
                ids, _Visit(0, None, at_layer=_take_hidden, stand_ins=self._stand_ins[stream])
            )
            self.activations.put((stream, batch), {"hidden": hidden.astype(mx.float32), "beside": {}})

    def run(self, index: int, stream: str, batch: int) -> Any:
        """What layer `index` returns for `batch` of `stream`, unevaluated."""
        return self._call(self.batches[batch], self._on_stream(stream, batch, index))

    def advance(self, index: int, stream: str, batches: Sequence[int] | None = None) -> None:
        """Run layer `index` on `batches` of `stream` (None: all), and keep what it returns instead."""
        for batch in self._numbers(batches):
            self.keep(index, stream, batch, self.run(index, stream, batch))

    def pass_by(self, index: int, streams: Sequence[str], batches: Sequence[int] | None = None) -> None:
        """`advance` with the source's parameters, which are read once for all `streams` and forgotten."""
        self.load(index)
        for stream in streams:
            self.advance(index, stream, batches)
        self.unload(index)

    def carry(self, streams: Sequence[str], batches: Sequence[int] | None = None, first: int = 0) -> None:
        """Take `batches` of `streams` (None: all) past every layer of the source from `first` on."""
        for index in range(first, len(self.layers)):
            self.pass_by(index, streams, batches)

    def keep(self, index: int, stream: str, batch: int, returned: Any, before: str | None = None) -> None:
        """Make what layer `index` has `returned` the state of a batch of `stream`.

        Args:
            before: the stream that the layer was run on, where `stream` branches off it.
        """
        state = self.activations.get((before or stream, batch))
        self.activations.put((stream, batch), _next(state, index, returned))

    def drop(self, stream: str) -> None:
        """Forget a stream."""
        self._stand_ins.pop(stream, None)
        for batch in range(len(self.batches)):
            self.activations.drop((stream, batch))

    def logits(self, stream: str, batch: int, row: int | None = None) -> mx.array:
        """What the network returns for `batch` of `stream` after the last layer [B, T, V], unevaluated.

        Args:
            row: of the batch, alone: [1, T, V].
        """
        rows = slice(None) if row is None else slice(row, row + 1)
        visit = self._on_stream(stream, batch, len(self.layers))
        assert visit.state is not None
        visit.state = {**visit.state, "hidden": visit.state["hidden"][rows]}
        found: mx.array = self._call(self.batches[batch][rows], visit)
        return found

    def head_input(self, stream: str, batch: int) -> tuple[str, mx.array] | None:
        """The path of the output head and what reaches it [B, T, C], unevaluated; None if no head is seen."""

        def take(path: str, hidden: mx.array) -> None:
            raise _Reached((path, hidden))

        visit = self._on_stream(stream, batch, len(self.layers))
        visit.at_head = take
        found = self._call(self.batches[batch], visit)
        return found if isinstance(found, tuple) else None

    def check(self) -> None:
        """See, on a few tokens, that a layer run alone gives what it gives in one call of the whole network.

        In that call `head` is found, too.
        Reads the parameters of every layer once; those outside must be loaded.

        Raises:
            UnsupportedError: it does not: the architecture hands something on around its layers.
        """
        ids = self.batches[0][:1, :CHECK_TOKENS]
        states: list[State] = []

        def compare(index: int, own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            self.load(index)
            before = states.pop() if states else {"hidden": arguments[0], "beside": {}}
            together = own(*arguments, **named)
            alone = self._call(ids, _Visit(index, before))
            if not _close(_hidden_of(together), _hidden_of(alone)):
                raise _unsupported(f"layer {index} depends on more than the layers before it return")
            states.append(_next(before, index, together))
            mx.eval(states[0])
            self.unload(index)
            visit.is_past_layers = index == len(self.layers) - 1
            return together

        def note(path: str, _: mx.array) -> None:
            self.head = path

        visit = _Visit(-1, None, at_layer=compare, at_head=note)
        self._call(ids, visit)

    def _numbers(self, batches: Sequence[int] | None) -> Sequence[int]:
        return range(len(self.batches)) if batches is None else batches

    def _on_stream(self, stream: str, batch: int, target: int) -> _Visit:
        state = self.activations.get((stream, batch))
        return _Visit(target, state, stand_ins=self._stand_ins.get(stream, {}))

    def _call(self, ids: mx.array, visit: _Visit) -> Any:
        before, self._visit = self._visit, visit
        try:
            return self.network(ids)
        except _Reached as reached:
            return reached.found
        finally:
            self._visit = before

    def _layer_handler(self, index: int) -> Handler:
        def handle(own: Call, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            visit = self._visit
            if not arguments or not isinstance(arguments[0], mx.array):
                raise _unsupported(f"layer {index} is called without hidden states")
            if index < visit.target:
                visit.is_past_layers = index == len(self.layers) - 1
                return _passed(visit, index, arguments[0])
            if visit.at_layer is not None:
                return visit.at_layer(index, own, arguments, named)
            assert visit.state is not None
            raise _Reached(own(visit.state["hidden"], *arguments[1:], **named))

        return handle

    def _hook_heads(self) -> None:
        """Watch what may turn hidden states into logits: linear layers outside the layers, `as_linear`."""
        inside = tuple(f"{path}." for path in self.paths)
        for path, module in self.network.named_modules():
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


def _as_float(value: mx.array, *, keep_matrices: bool) -> mx.array:
    """Half precision as float32, but for the embedding and the head: large, and looked up or multiplied once."""
    if not mx.issubdtype(value.dtype, mx.floating) or (keep_matrices and value.ndim > 1):
        return value
    return value.astype(mx.float32)


def _take_hidden(_: int, __: Call, arguments: tuple[Any, ...], ___: dict[str, Any]) -> Any:
    raise _Reached(arguments[0])


def _key(index: int) -> str:
    """Of a layer in a state; digits alone would make a list of it when it comes back from the disk."""
    return f"layer-{index}"


def _passed(visit: _Visit, index: int, hidden: mx.array) -> Any:
    """What layer `index` is taken to return: the kept states where it is the last before the target."""
    assert visit.state is not None
    if index == visit.target - 1:
        hidden = visit.state["hidden"]
    beside = visit.state.get("beside", {}).get(_key(index))
    return hidden if beside is None else (hidden, *beside)


def _hidden_of(returned: Any) -> mx.array:
    hidden = returned[0] if isinstance(returned, (tuple, list)) else returned
    if not isinstance(hidden, mx.array):
        raise _unsupported(f"a layer returns {type(hidden).__name__}, expected hidden states first")
    return hidden


def _next(state: State, index: int, returned: Any) -> State:
    """The state after layer `index` has `returned`."""
    beside = state.get("beside", {})
    if isinstance(returned, (tuple, list)):
        beside = {**beside, _key(index): list(returned[1:])}
    return {"hidden": _hidden_of(returned), "beside": beside}


def _close(one: mx.array, other: mx.array) -> bool:
    difference = mx.abs(one - other).max()
    return bool((difference <= CHECK_TOLERANCE * mx.abs(one).max()).item())


def _unsupported(reason: str) -> UnsupportedError:
    return UnsupportedError(
        f"this architecture cannot be calibrated layer by layer: {reason}",
        hint="use --quality fast, which needs no calibration text",
    )
