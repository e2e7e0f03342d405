"""The order in which MLX evaluates a graph (mlx/transforms.cpp, eval_impl): breadth first from the results, in bounds.

A node is put down once all that use it have been; where more than 20 wait, MLX goes down a level first. The order
decides what is in memory at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelm.tune.plan.trace.graph import Graph

MAX_WIDTH = 20
"""MLX_BFS_MAX_WIDTH."""

_RESULTS = -1


def evaluation_order(graph: Graph) -> list[int]:
    """Return the indices of the nodes that the results need, as they will run."""
    makers = {name: at for at, node in enumerate(graph.nodes) for name in node.outputs}
    inputs = [[makers[name] for name in node.inputs if name in makers] for node in graph.nodes]
    inputs.append([makers[name] for name in graph.results if name in makers])  # found at index -1
    waiting = _count_uses(inputs)
    tape, stack, at = [_RESULTS], list[tuple[int, int]](), 0
    while at < len(tape) or stack:
        if at < len(tape):
            node, begin = tape[at], 0
            at += 1
        else:
            node, begin = stack.pop()
        for position in range(begin, len(inputs[node])):
            if len(tape) - at >= MAX_WIDTH:
                stack.append((node, position))
                break
            maker = inputs[node][position]
            waiting[maker] -= 1
            if waiting[maker] == 0:
                tape.append(maker)
    return tape[:0:-1]


def _count_uses(inputs: Sequence[Sequence[int]]) -> dict[int, int]:
    """How often each node is used by those that are needed."""
    uses: dict[int, int] = {}
    stack = [_RESULTS]
    while stack:
        for maker in inputs[stack.pop()]:
            if maker not in uses:
                uses[maker] = 0
                stack.append(maker)
            uses[maker] += 1
    return uses
