"""A computation as MLX will see it: its primitives in order, with the shapes of what goes in and comes out.

Traced by `mx.export_function` from a function of arrays that need not hold anything: nothing is evaluated. So any
architecture and any step are priced by one code, without a table. What MLX cannot export (`CustomTransforms`: made
by `mx.checkpoint` and custom gradients) must not be in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One primitive of MLX, with its inputs and outputs."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: tuple[Any, ...] = ()
    """As MLX exports them: the axes of a transposition, for example."""


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run. Arrays have names."""

    nodes: tuple[GraphNode, ...]
    shapes: dict[str, Shape]
    itemsizes: dict[str, int]
    """Bytes of one element."""
    given: tuple[str, ...]
    """Inputs and constants: in memory throughout."""
    results: tuple[str, ...]

    def size(self, name: str) -> int:
        """Return the number of elements of a value."""
        return math.prod(self.shapes[name])

    def nbytes(self, name: str) -> int:
        """Return the bytes of the array if it is written out."""
        return self.size(name) * self.itemsizes[name]


def trace(function: Callable[..., Sequence[mx.array]], arrays: Sequence[mx.array]) -> Graph:
    """Trace the graph of `function(*arrays)`; only shapes and types of `arrays` matter.

    Raises:
        ValueError: MLX cannot export a primitive of it.
    """
    records: list[dict[str, Any]] = []
    mx.export_function(records.append, function, *arrays)
    builder = _Builder()
    for record in records:
        builder.add(record)
    return builder.graph()


class _Builder:
    def __init__(self) -> None:
        self._nodes: list[GraphNode] = []
        self._shapes: dict[str, Shape] = {}
        self._itemsizes: dict[str, int] = {}
        self._given: list[str] = []
        self._results: tuple[str, ...] = ()

    def add(self, record: dict[str, Any]) -> None:
        kind = record["type"]
        if kind == "inputs":
            self._given += self._note(record["inputs"])
        elif kind == "constants":
            for name, value in record["constants"]:
                self._given += self._note([(name, value.shape, value.dtype)])
        elif kind == "outputs":
            self._results = self._note(record["outputs"])
        elif kind == "primitive":
            inputs, outputs = self._note(record["inputs"]), self._note(record["outputs"])
            self._nodes.append(GraphNode(record["name"], inputs, outputs, tuple(record["arguments"])))

    def graph(self) -> Graph:
        return Graph(tuple(self._nodes), self._shapes, self._itemsizes, tuple(self._given), self._results)

    def _note(self, arrays: Sequence[tuple[str, Sequence[int], mx.Dtype]]) -> tuple[str, ...]:
        for name, shape, dtype in arrays:
            self._shapes[name] = tuple(shape)
            self._itemsizes[name] = dtype.size
        return tuple(name for name, _, _ in arrays)
