"""What `mx.compile` makes of a graph: chains of elementwise primitives joined into one (mlx/compile.cpp, compile_fuse).

Going back from each, a primitive joins if all that use it are in; broadcasts may be repeated inside and outside. What
happens between them is never written to memory, and what they read has to live longer: both matter for the peak.
"""

from __future__ import annotations

import dataclasses

from edgelm.tune.plan.trace.graph import Graph, GraphNode
from edgelm.tune.plan.trace.kinds import FUSABLE, FUSED

MAX_DEPTH = 11
MAX_ARRAYS = 24
_ELSEWHERE = -1
"""Stands for a user that is in no group: a broadcast that was repeated inside another."""


def fuse(graph: Graph) -> Graph:
    """Return the graph with fused nodes."""
    return _Fuser(graph).run()


class _Fuser:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {name: at for at, node in enumerate(graph.nodes) for name in node.outputs}
        self._results = frozenset(graph.results)
        self._users: dict[str, list[int]] = {name: [] for name in graph.shapes}
        for at, node in enumerate(graph.nodes):
            for name in node.inputs:
                self._users[name].append(at)

    def run(self) -> Graph:
        nodes: list[GraphNode] = []
        fused: set[int] = set()
        for at in reversed(range(len(self._graph.nodes))):
            if at in fused:
                continue
            group = self._group(at)
            if len(group) <= 1:
                nodes.append(self._graph.nodes[at])
                continue
            nodes.append(self._joined(at, group))
            fused |= self._taken(at, group)
        return dataclasses.replace(self._graph, nodes=tuple(reversed(nodes)))

    def _group(self, at: int) -> set[int]:
        """The nodes that join the one at `at`."""
        node = self._graph.nodes[at]
        if node.name not in FUSABLE or node.name == "Broadcast":
            return set()
        group: set[int] = set()
        repeated: set[int] = set()
        outside: set[str] = set()
        shape = self._graph.shapes[node.outputs[0]]

        def visit(name: str, depth: int) -> None:
            maker = self._makers.get(name)
            if maker is not None and maker in group:
                return
            is_other_result = name in self._results and self._graph.shapes[name] != shape
            is_fusable = maker is not None and self._graph.nodes[maker].name in FUSABLE
            if maker is None or depth >= MAX_DEPTH or not is_fusable or is_other_result:
                outside.add(name)
                return
            if depth and not all(user in group and user not in repeated for user in self._users[name]):
                outside.add(name)
                if self._graph.nodes[maker].name != "Broadcast":
                    return
                repeated.add(maker)
            elif name in self._results:
                outside.add(name)
            else:
                outside.discard(name)
            if len(group) + len(outside) >= MAX_ARRAYS:
                outside.add(name)
                return
            group.add(maker)
            for read in self._graph.nodes[maker].inputs:
                visit(read, depth + 1)

        visit(node.outputs[0], 0)
        return group

    def _joined(self, at: int, group: set[int]) -> GraphNode:
        """One node that reads in the order in which MLX comes to its inputs: depth first from the result."""
        reads: dict[str, None] = {}
        seen: set[str] = set()

        def visit(name: str) -> None:
            maker = self._makers.get(name)
            if name in seen:
                return
            seen.add(name)
            if maker is None or maker not in group:
                reads.setdefault(name)
                return
            for read in self._graph.nodes[maker].inputs:
                visit(read)

        first = self._graph.nodes[at].outputs[0]
        visit(first)
        outputs = {self._graph.nodes[member].outputs[0] for member in group}
        others = sorted(name for name in outputs & self._results if name != first)
        return GraphNode(FUSED, tuple(reads), (first, *others))

    def _taken(self, at: int, group: set[int]) -> set[int]:
        """Members that are nowhere else; a repeated broadcast stays for those outside."""
        taken = set()
        for member in group:
            (name,) = self._graph.nodes[member].outputs
            users = [user for user in self._users[name] if user not in group]
            if member == at or name in self._results or not users:
                taken.add(member)
                continue
            self._users[name] = users
            for read in self._graph.nodes[member].inputs:
                self._users[read].append(_ELSEWHERE)
        return taken
