"""How much a graph computes and moves, for a first guess at its time."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.tune.trace.graph import Graph, Node
from edgelm.tune.trace.kinds import MULTIPLIES, RESHAPES, VIEWS


@dataclass(frozen=True, slots=True)
class Work:
    """What has to be done."""

    flops: int
    """Of matrix products: 2 * outputs * inner width."""
    moved_bytes: int
    """Read and written by everything else."""

    def seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        """At these rates, one after the other."""
        return self.flops / flops_per_s + self.moved_bytes / bytes_per_s


def find_work(graph: Graph) -> Work:
    """Of all nodes."""
    products = [node for node in graph.nodes if node.name in MULTIPLIES]
    others = [node for node in graph.nodes if node.name not in MULTIPLIES | VIEWS | RESHAPES]
    return Work(
        flops=sum(_flops(graph, node) for node in products),
        moved_bytes=sum(graph.nbytes(name) for node in others for name in (*node.inputs, *node.outputs)),
    )


def _flops(graph: Graph, node: Node) -> int:
    return 2 * graph.size(node.outputs[0]) * graph.shapes[node.inputs[0]][-1]
