"""The peak of memory while a graph is evaluated, by following every buffer: written, shared, reused, released.

MLX's rules, as of mlx 0.32: views share memory; an elementwise primitive writes into an input that nobody else needs;
matmul copies operands that do not lie right; memory is handed out when a primitive is scheduled, and released when it
has run, which is up to 100 kernels later on the CPU (mlx/scheduler.h, backend/cpu/encoder.h). Metal schedules by
command buffers and fuses more: there it is an estimate, to be corrected by a first real step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edgelm.tune.plan.trace import layout as layouts
from edgelm.tune.plan.trace.graph import Graph, GraphNode
from edgelm.tune.plan.trace.kinds import ELEMENTWISE, FUSED, MATMULS, RESHAPES, REUSES_FIRST, VIEWS
from edgelm.tune.plan.trace.layout import Layout
from edgelm.tune.plan.trace.order import evaluation_order

RUN_AHEAD = 100
"""Kernels that are scheduled before MLX waits: 10 tasks of 10 dispatches."""


@dataclass(frozen=True, slots=True)
class MemoryPeak:
    """The memory that a computation takes at its peak, in bytes."""

    peak_bytes: int
    given_bytes: int
    """Inputs and constants, which are there all the time."""

    @property
    def working_bytes(self) -> int:
        """What comes on top of the inputs."""
        return self.peak_bytes - self.given_bytes


def find_peak(graph: Graph) -> MemoryPeak:
    """Find the most that is in memory at once while the results are computed."""
    memory = _Memory(graph)
    given = memory.live
    for at in evaluation_order(graph):
        memory.run(graph.nodes[at])
    return MemoryPeak(memory.peak, given)


@dataclass(slots=True)
class _Buffer:
    nbytes: int
    references: int = 1
    """Arrays that lie in it and are still needed, and kernels that read it and have not run."""


class _Memory:
    """Follows one evaluation."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._kept = frozenset(graph.given) | frozenset(graph.results)
        self._uses: dict[str, int] = {}
        self._buffers: dict[str, _Buffer] = {}
        self._layouts: dict[str, Layout] = {}
        self._releases: deque[tuple[int, _Buffer]] = deque()
        self._clock = 0
        self.live = self.peak = 0
        for at in evaluation_order(graph):
            for name in graph.nodes[at].inputs:
                self._uses[name] = self._uses.get(name, 0) + 1
        for name in graph.given:
            self._write(name)

    def run(self, node: GraphNode) -> None:
        self._release()
        written = self._outputs(node)
        copies = self._copies(node)
        self._clock += 1 + (1 if written else 0) + (1 if copies else 0)
        if copies:
            self._take(copies)
            self._releases.append((self._clock, _Buffer(copies)))
        self._hold({id(self._buffers[name]): self._buffers[name] for name in node.inputs}, node)
        for name in node.inputs:
            self._uses[name] -= 1
        for name in dict.fromkeys((*node.inputs, *node.outputs)):
            if not self._uses.get(name) and name not in self._kept:
                self._drop(self._buffers[name])

    def _hold(self, read: dict[int, _Buffer], node: GraphNode) -> None:
        """What a kernel reads stays until it has run, and cannot be written into; but where its own output lies."""
        read.pop(id(self._buffers[node.outputs[0]]), None)
        for buffer in read.values():
            buffer.references += 1
            self._releases.append((self._clock, buffer))

    def _release(self) -> None:
        while self._releases and self._releases[0][0] <= self._clock - RUN_AHEAD:
            self._drop(self._releases.popleft()[1])

    def _drop(self, buffer: _Buffer) -> None:
        buffer.references -= 1
        if buffer.references == 0:
            self.live -= buffer.nbytes

    def _outputs(self, node: GraphNode) -> bool:
        """Give the outputs their memory; whether a kernel writes there."""
        if node.name in VIEWS:
            for position, name in enumerate(node.outputs):
                self._view(node, name, node.inputs[position if node.name == "Depends" else 0])
            return False
        if node.name in RESHAPES:
            return self._reshape(node.outputs[0], node.inputs[0])
        if node.name == FUSED:
            self._fused(node)
        elif node.name in ELEMENTWISE:
            self._elementwise(node)
        else:
            self._other(node)
        return True

    def _view(self, node: GraphNode, name: str, source: str) -> None:
        shape, layout = self._graph.shapes[source], self._layouts[source]
        to = self._graph.shapes[name]
        if node.name == "Transpose":
            layout = layouts.permuted(layout, node.arguments[0])
        elif node.name == "Broadcast":
            layout = layouts.broadcast(shape, layout, to)
        elif node.name in ("ExpandDims", "Squeeze"):
            layout = layouts.with_ones(shape, layout, to)
        self._share(name, source, layout)

    def _reshape(self, name: str, source: str) -> bool:
        shape, layout = self._graph.shapes[source], self._layouts[source]
        viewed = layouts.reshaped(shape, layout, self._graph.shapes[name])
        if viewed is None:
            self._write(name)
        else:
            self._share(name, source, viewed)
        return viewed is None

    def _elementwise(self, node: GraphNode) -> None:
        (name,) = node.outputs
        whole = [source for source in node.inputs if self._distinct(source) != 1]
        itemsize = self._graph.itemsizes[name]
        if not whole:
            self._write(name, itemsize, (0,) * len(self._graph.shapes[name]))
        elif len(whole) == 1 and self._is_like(whole[0], name):
            (source,) = whole
            layout = self._layouts[source]
            if self._is_last(source) and self._graph.itemsizes[source] == itemsize:
                self._share(name, source, layout)
            else:
                self._write(name, self._distinct(source) * itemsize, layout)
        else:
            self._write_into(name, [source for source in node.inputs if self._can_take(source, name)])

    def _fused(self, node: GraphNode) -> None:
        free = [source for source in node.inputs if self._graph.size(source) > 1]
        for name in node.outputs:
            taken = self._write_into(name, [source for source in free if self._can_take(source, name)])
            free = [source for source in free if source != taken]

    def _other(self, node: GraphNode) -> None:
        first, *others = node.outputs
        reuses = node.name in REUSES_FIRST and self._can_take(node.inputs[0], first)
        self._write_into(first, [node.inputs[0]] if reuses else [])
        for name in others:
            self._write(name)

    def _copies(self, node: GraphNode) -> int:
        """Bytes of operands that have to be laid out anew."""
        if node.name not in MATMULS:
            return 0
        return sum(
            self._graph.nbytes(source)
            for source in node.inputs[:2]
            if not layouts.is_matrix(self._graph.shapes[source], self._layouts[source])
        )

    def _write_into(self, name: str, candidates: list[str]) -> str | None:
        """Write into the first candidate's buffer and return that candidate; without one, write anew."""
        if not candidates:
            self._write(name)
            return None
        self._share(name, candidates[0], layouts.row_major(self._graph.shapes[name]))
        return candidates[0]

    def _write(self, name: str, nbytes: int | None = None, layout: Layout | None = None) -> None:
        buffer = _Buffer(self._graph.nbytes(name) if nbytes is None else nbytes)
        self._buffers[name] = buffer
        self._layouts[name] = layout or layouts.row_major(self._graph.shapes[name])
        self._take(buffer.nbytes)

    def _take(self, nbytes: int) -> None:
        self.live += nbytes
        self.peak = max(self.peak, self.live)

    def _share(self, name: str, source: str, layout: Layout) -> None:
        self._buffers[name] = self._buffers[source]
        self._buffers[name].references += 1
        self._layouts[name] = layout

    def _is_last(self, name: str) -> bool:
        """Whether nobody needs it or what lies with it after this, and nobody is still to read it."""
        return self._uses[name] == 1 and name not in self._kept and self._buffers[name].references == 1

    def _can_take(self, source: str, name: str) -> bool:
        """Whether `name` can be written where `source` is."""
        return (
            self._graph.shapes[source] == self._graph.shapes[name]
            and self._buffers[source].nbytes == self._graph.nbytes(source) == self._graph.nbytes(name)
            and layouts.is_row_major(self._graph.shapes[source], self._layouts[source])
            and self._is_last(source)
        )

    def _is_like(self, source: str, name: str) -> bool:
        return self._graph.shapes[source] == self._graph.shapes[name] and layouts.is_dense(
            self._graph.shapes[source], self._layouts[source]
        )

    def _distinct(self, name: str) -> int:
        return layouts.distinct(self._graph.shapes[name], self._layouts[name])
