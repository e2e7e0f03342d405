"""How much a graph computes and moves, for a first guess at its time."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.pricing.machine_rates import Rates
from edgelm.tune.plan.trace.graph import Graph, GraphNode
from edgelm.tune.plan.trace.kinds import EXPONENTIALS, MULTIPLIES, RESHAPES, VIEWS


@dataclass(frozen=True, slots=True)
class Work:
    """What has to be done."""

    flops: int
    """Operations of matrix products: 2 * outputs * inner width."""
    moved_bytes: int
    """Read and written by everything else."""
    exponentials: int
    """And the like: on the CPU, where they are computed one by one, half of the time of a small network."""

    def seconds(self, rates: Rates) -> float:
        """Predict the seconds at these rates, one after the other."""
        return rates.seconds(flops=self.flops, moved_bytes=self.moved_bytes, exponentials=self.exponentials)


def find_work(graph: Graph, fused: Graph) -> Work:
    """Add up the work of all nodes; memory is moved by those that are left once chains are `fused`."""
    products = [node for node in graph.nodes if node.name in MULTIPLIES]
    exponentials = [node for node in graph.nodes if node.name in EXPONENTIALS]
    moving = [node for node in fused.nodes if node.name not in MULTIPLIES | VIEWS | RESHAPES]
    return Work(
        flops=sum(_flops(graph, node) for node in products),
        moved_bytes=sum(fused.nbytes(name) for node in moving for name in (*node.inputs, *node.outputs)),
        exponentials=sum(graph.size(node.inputs[0]) for node in exponentials),
    )


def _flops(graph: Graph, node: GraphNode) -> int:
    return 2 * graph.size(node.outputs[0]) * graph.shapes[node.inputs[0]][-1]
