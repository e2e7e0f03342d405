"""Running a network one layer at a time, by its own forward, for any architecture of mlx-lm.

To run layer i on a batch, the network is called on the batch's token ids up to that layer, with the hidden states that
were kept of layer i − 1 put in (`visits.py`). Parameters are loaded for one layer at a time, and kept hidden states
belong to named streams ("source", "quantized", …), so that the same layer can be run with other parameters on other
inputs.

Assumed, and checked by `check`: what a layer gets is a function of the ids, of the layer's position, of the hidden
states before it and of what earlier layers returned beside them (shared keys and values).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from edgelm.quant.hooks import Call
from edgelm.quant.streams.activations import Activations
from edgelm.quant.streams.states import State, hidden_of, state_after, unsupported
from edgelm.quant.streams.visits import StandIn, Visit, VisitedNetwork, end_visit
from edgelm.zoo.protocol import Network, layer_paths

CHECK_TOKENS = 8
CHECK_TOLERANCE = 1e-4
"""Relative to the largest hidden state: float32 with another order of sums."""


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
            raise unsupported("it uses one layer at several depths")
        flat: Any = tree_flatten(network.parameters())
        self.names = [[name for name, _ in flat if name.startswith(f"{path}.")] for path in self.paths]
        inside = {name for layer in self.names for name in layer}
        self.outside = [name for name, _ in flat if name not in inside]
        self.head: str | None = None
        """Path of the module that turns hidden states into logits; `check` finds it. None if none is seen."""
        self._dtypes: dict[str, mx.Dtype] = {}
        self._stand_ins: dict[str, Mapping[str, StandIn]] = {}
        self._visited = VisitedNetwork(network, self.layers, self.paths)
        self.embeddings = self._visited.embeddings
        """Paths of the modules outside the layers that look tokens up."""

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
        """Return the dtype that a loaded parameter is stored in."""
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
            hidden = self._visited.visit(
                ids, Visit(0, None, at_layer=_take_hidden, stand_ins=self._stand_ins[stream])
            )
            self.activations.put((stream, batch), {"hidden": hidden.astype(mx.float32), "beside": {}})

    def run(self, index: int, stream: str, batch: int) -> Any:
        """Run layer `index` on `batch` of `stream`; what it returns is unevaluated."""
        return self._visited.visit(self.batches[batch], self._on_stream(stream, batch, index))

    def advance(self, index: int, stream: str, batches: Sequence[int] | None = None) -> None:
        """Run layer `index` on `batches` of `stream` (None: all), and keep what it returns instead."""
        for batch in self._numbers(batches):
            self.keep(index, stream, batch, self.run(index, stream, batch))

    def pass_by(self, index: int, streams: Sequence[str], batches: Sequence[int] | None = None) -> None:
        """Advance `streams` with the source's parameters, which are read once for all of them and forgotten."""
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
        self.activations.put((stream, batch), state_after(state, index, returned))

    def drop(self, stream: str) -> None:
        """Forget a stream."""
        self._stand_ins.pop(stream, None)
        for batch in range(len(self.batches)):
            self.activations.drop((stream, batch))

    def logits(self, stream: str, batch: int, row: int | None = None) -> mx.array:
        """Compute what the network returns for `batch` of `stream` after the last layer [B, T, V], unevaluated.

        Args:
            row: of the batch, alone: [1, T, V].
        """
        rows = slice(None) if row is None else slice(row, row + 1)
        visit = self._on_stream(stream, batch, len(self.layers))
        assert visit.state is not None
        visit.state = {**visit.state, "hidden": visit.state["hidden"][rows]}
        logits: mx.array = self._visited.visit(self.batches[batch][rows], visit)
        return logits

    def head_input(self, stream: str, batch: int) -> tuple[str, mx.array] | None:
        """Return the path of the output head and what reaches it [B, T, C], unevaluated; None if no head is seen."""

        def take(path: str, hidden: mx.array) -> None:
            end_visit((path, hidden))

        visit = self._on_stream(stream, batch, len(self.layers))
        visit.at_head = take
        reached = self._visited.visit(self.batches[batch], visit)
        return reached if isinstance(reached, tuple) else None

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
            alone = self._visited.visit(ids, Visit(index, before))
            if not _close(hidden_of(together), hidden_of(alone)):
                raise unsupported(f"layer {index} depends on more than the layers before it return")
            states.append(state_after(before, index, together))
            mx.eval(states[0])
            self.unload(index)
            visit.is_past_layers = index == len(self.layers) - 1
            return together

        def note(path: str, _: mx.array) -> None:
            self.head = path

        visit = Visit(-1, None, at_layer=compare, at_head=note)
        self._visited.visit(ids, visit)

    def _numbers(self, batches: Sequence[int] | None) -> Sequence[int]:
        return range(len(self.batches)) if batches is None else batches

    def _on_stream(self, stream: str, batch: int, target: int) -> Visit:
        state = self.activations.get((stream, batch))
        return Visit(target, state, stand_ins=self._stand_ins.get(stream, {}))


def _as_float(value: mx.array, *, keep_matrices: bool) -> mx.array:
    """Half precision as float32, but for the embedding and the head: large, and looked up or multiplied once."""
    if not mx.issubdtype(value.dtype, mx.floating) or (keep_matrices and value.ndim > 1):
        return value
    return value.astype(mx.float32)


def _take_hidden(_: int, __: Call, arguments: tuple[Any, ...], ___: dict[str, Any]) -> Any:
    end_visit(arguments[0])


def _close(one: mx.array, other: mx.array) -> bool:
    difference = mx.abs(one - other).max()
    return bool((difference <= CHECK_TOLERANCE * mx.abs(one).max()).item())
