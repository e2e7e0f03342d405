"""The prefix pool: what one network has computed, in a tree over tokens, for any later request to begin from.

Branches of a chat, regenerated answers and different chats share what they have in common and no more. Memory is
bounded: what was used longest ago goes first, leaves before what they grow from. Where a leaf of the network
cannot be cut back (`leaves.py`), a request can begin only where a snapshot was taken. With a disk, what was written
outlives the process (`disk.py`). Runs on the thread that owns MLX.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from edgelm.runtime.cache.disk import DiskCache
from edgelm.runtime.cache.node import FileSpan, Node, Payload, Snapshot
from edgelm.zoo.caches.leaves import (
    MakeLayers,
    can_trim,
    copy_rows,
    freeze,
    grows,
    leaves_of,
    set_rows,
    thaw,
)


@dataclass(frozen=True, slots=True)
class Match:
    """How much of a prompt the pool knows: `length` tokens, the last of them in `node`."""

    length: int
    node: Node


class Pool:
    """What was computed by one network.

    Args:
        make_layers: makes the network's fresh caches.
        budget_bytes: of memory that may be kept.
        disk: where it is kept between runs; None for nowhere.
    """

    def __init__(self, make_layers: MakeLayers, *, budget_bytes: int, disk: DiskCache | None = None) -> None:
        self._make_layers = make_layers
        self.budget_bytes = budget_bytes
        self._disk = disk
        self._roots: dict[str, Node] = {}
        self._clock = 0
        self.size_bytes = 0
        self.cuts_anywhere = all(map(grows, leaves_of(make_layers())))

    def reset(self) -> None:
        """Forget everything in memory; files stay."""
        self._roots.clear()
        self.size_bytes = 0

    def limit(self, budget_bytes: int) -> None:
        """Keep no more than so much in memory from now on."""
        self.budget_bytes = budget_bytes
        self._shrink()

    def match(self, variant: str, tokens: Sequence[int]) -> Match:
        """Return the longest beginning of `tokens` that a request can start from; nothing of it is read yet."""
        node, length = _descend(self._root(variant), tokens)
        if self.cuts_anywhere:
            return Match(length, node)
        for candidate in (node, *node.ancestors()):
            end = candidate.end
            if candidate.has_snapshot and (end <= length or self._trims(candidate, end - length)):
                return Match(min(end, length), candidate)
        return Match(0, self._root(variant))

    def load(self, variant: str, tokens: Sequence[int]) -> tuple[list[Any], int]:
        """Return fresh caches that hold as much of `tokens` as is known, and how many tokens that is."""
        while True:
            found = self.match(variant, tokens)
            lost = next((node for node in found.node.path() if not self._fetch(node)), None)
            if lost is None:
                break
            self._forget(lost)  # its file is gone or broken: begin from what is left
        layers = self._make_layers()
        if found.length:
            self._fill(layers, found)
            self._touch(found.node.path())
        self._shrink()
        return layers, found.length

    def store(
        self,
        variant: str,
        tokens: Sequence[int],
        layers: Sequence[Any],
        snapshots: Mapping[int, Snapshot] | None = None,
    ) -> None:
        """Keep what `layers` hold of `tokens`, which is all of them.

        Args:
            snapshots: by position, for networks that cannot be cut back; the present one is taken here.
        """
        path, _ = self._insert(variant, tokens, list(leaves_of(layers)), dict(snapshots or {}))
        self._touch(path)
        self._shrink()

    def persist(
        self,
        variant: str,
        tokens: Sequence[int],
        layers: Sequence[Any],
        snapshots: Mapping[int, Snapshot] | None = None,
    ) -> None:
        """Write what is not yet on the disk of `tokens`; no more of it stays in memory than was there before.

        What is too little to be worth a file waits until there is more.

        Raises:
            OutputError: the disk refuses.
        """
        if self._disk is None or len(tokens) - self._written(variant, tokens) < self._disk.smallest:
            return
        path, added = self._insert(variant, tokens, list(leaves_of(layers)), dict(snapshots or {}))
        try:
            for node in path:
                self._write(variant, node)
        finally:
            for node in reversed(added):
                self._drop_payload(node)
        self._touch(path)
        self._disk.shrink()

    @property
    def has_disk(self) -> bool:
        """Whether what is kept outlives the process."""
        return self._disk is not None

    def write_down(self, variant: str, tokens: Sequence[int], *, most: int | None = None) -> bool:
        """Write what is in memory of `tokens` and not yet on the disk; whether some of it is left.

        Args:
            most: tokens to write at once; None is all of them.

        Raises:
            OutputError: the disk refuses.
        """
        if self._disk is None or len(tokens) - self._written(variant, tokens) < self._disk.smallest:
            return False
        node, _ = _descend(self._root(variant), tokens)
        left = len(tokens) if most is None else most
        for part in node.path():
            if part.span is not None:
                continue
            if part.payload is None or not left:
                break
            upper = self._split(part, left) if len(part.tokens) > left else part
            self._write(variant, upper)
            left -= len(upper.tokens)
            if upper is not part:
                break
        self._touch(node.path())
        self._disk.shrink()
        return most is not None and not left

    def _insert(
        self, variant: str, tokens: Sequence[int], leaves: list[Any], snapshots: dict[int, Snapshot]
    ) -> tuple[list[Node], list[Node]]:
        """The nodes of `tokens`, and those of them that were made for what was not known."""
        if not self.cuts_anywhere:
            snapshots[len(tokens)] = snapshot_of(leaves)
        node, known = self._descend_to_end(self._root(variant), tokens)
        self._attach(node, {place: snapshot for place, snapshot in snapshots.items() if place <= known})
        added = []
        at = known
        for cut in sorted({place for place in (*snapshots, len(tokens)) if place > known}):
            payload = Payload(_rows(leaves, at, cut), snapshots.get(cut))
            mx.eval(payload.rows, payload.snapshot or ())
            node = node.add(tokens[at:cut], payload)
            self.size_bytes += payload.size_bytes
            added.append(node)
            at = cut
        return node.path(), added

    def _descend_to_end(self, root: Node, tokens: Sequence[int]) -> tuple[Node, int]:
        """`_descend`, with the last node split so that it ends where `tokens` part from it."""
        node, known = _descend(root, tokens)
        surplus = node.end - known
        return (self._split(node, len(node.tokens) - surplus) if surplus else node), known

    def _attach(self, node: Node, snapshots: Mapping[int, Snapshot]) -> None:
        """Put snapshots on the nodes from the root to `node` that lack them."""
        for place, snapshot in snapshots.items():
            part = next(part for part in node.path() if part.end >= place)
            if part.end > place:
                part = self._split(part, len(part.tokens) - (part.end - place))
            if part.payload is not None and part.payload.snapshot is None:
                self.size_bytes -= part.size_bytes
                part.payload = replace(part.payload, snapshot=snapshot)
                self.size_bytes += part.size_bytes

    def _split(self, node: Node, length: int) -> Node:
        upper = node.split(length)
        # Until they are evaluated, both halves keep the whole alive.
        mx.eval([part.payload.rows for part in (upper, node) if part.payload is not None])
        return upper

    def _fill(self, layers: list[Any], found: Match) -> None:
        path = found.node.path()
        payloads = [part.payload for part in path if part.payload is not None]
        surplus = found.node.end - found.length
        tail = len(path[-1].tokens) - surplus
        for index, leaf in enumerate(leaves_of(layers)):
            if grows(leaf):
                parts = [rows for payload in payloads if (rows := payload.rows[index]) is not None]
                parts[-1] = tuple(array[..., :tail, :] for array in parts[-1])
                set_rows(leaf, parts)
            else:
                snapshot = payloads[-1].snapshot
                if snapshot is None:
                    raise ValueError("a match without a snapshot")
                thaw(leaf, snapshot[index])
                if surplus:
                    leaf.trim(surplus)

    def _trims(self, node: Node, surplus: int) -> bool:
        """Whether a snapshot can be cut back, as sliding windows can until they wrap."""
        if not self._fetch(node) or node.payload is None or node.payload.snapshot is None:
            return False
        for leaf, state in zip(leaves_of(self._make_layers()), node.payload.snapshot, strict=True):
            if state is not None:
                thaw(leaf, state)
                if not can_trim(leaf, surplus):
                    return False
        return True

    def _root(self, variant: str) -> Node:
        if variant not in self._roots:
            root = self._roots[variant] = Node()
            for tokens, span in self._disk.index(variant) if self._disk else ():
                self._graft(root, tokens, span)
        return self._roots[variant]

    def _graft(self, root: Node, tokens: Sequence[int], span: FileSpan) -> None:
        """Add a stretch that is on the disk."""
        node, known = self._descend_to_end(root, tokens)
        own = len(tokens) - known
        length = span.end - span.start
        if 0 < own <= length:
            node.add(tokens[known:], None, span.cut(length - own, length))

    def _fetch(self, node: Node) -> bool:
        """See to it that the payload is in memory; False if it is lost."""
        if node.payload is None and node.span is not None and self._disk is not None:
            node.payload = self._disk.read(node.span)
            self.size_bytes += node.size_bytes
        return node.payload is not None

    def _written(self, variant: str, tokens: Sequence[int]) -> int:
        """How many of `tokens` are on the disk."""
        node, known = _descend(self._root(variant), tokens)
        unwritten = next((part for part in node.path() if part.span is None), None)
        return known if unwritten is None else unwritten.end - len(unwritten.tokens)

    def _write(self, variant: str, node: Node) -> None:
        if self._disk is None or node.span is not None or node.payload is None:
            return
        parent = node.parent.span if node.parent is not None else None
        before = [token for part in node.path()[:-1] for token in part.tokens]
        node.span = self._disk.write(variant, before, node.tokens, node.payload, parent)

    def _drop_payload(self, node: Node) -> None:
        """Free the memory; out of the tree too, if it is nowhere else."""
        self.size_bytes -= node.size_bytes
        node.payload = None
        if node.span is None:
            self._forget(node)

    def _forget(self, node: Node) -> None:
        self.size_bytes -= node.size_bytes + sum(part.size_bytes for part in node.descendants())
        node.remove()

    def _touch(self, path: Sequence[Node]) -> None:
        self._clock += 1
        for node in path:
            node.used = self._clock
        if self._disk is not None:
            self._disk.touch([node.span.name for node in path if node.span is not None])

    def _nodes(self) -> Iterator[Node]:
        for root in self._roots.values():
            yield from root.descendants()

    def _shrink(self) -> None:
        """Free what was used longest ago. A node outlives those that grow from it, unless a file has it."""
        while self.size_bytes > self.budget_bytes:
            victims = [
                node
                for node in self._nodes()
                if node.payload is not None and (node.span is not None or not node.children)
            ]
            if not victims:
                return
            self._drop_payload(min(victims, key=lambda node: node.used))


def snapshot_of(leaves: Sequence[Any]) -> Snapshot:
    """Return the state of the leaves that do not grow, as it is now."""
    return tuple(None if grows(leaf) else freeze(leaf) for leaf in leaves)


def _rows(leaves: Sequence[Any], start: int, end: int) -> tuple[Any, ...]:
    return tuple(copy_rows(leaf, start, end) if grows(leaf) else None for leaf in leaves)


def _descend(root: Node, tokens: Sequence[int]) -> tuple[Node, int]:
    """The deepest node that shares a token with `tokens`, and how many tokens are shared in all."""
    node, at = root, 0
    while at < len(tokens) and (child := node.children.get(tokens[at])) is not None:
        shared = common_prefix(child.tokens, tokens[at : at + len(child.tokens)])
        node, at = child, at + shared
        if shared < len(child.tokens):
            break
    return node, at


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return index
    return min(len(a), len(b))
