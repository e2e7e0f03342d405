"""One stretch of tokens in the pool: a node of its tree, with what the network computed of it.

A node holds the rows of every growing leaf for its own tokens, and, where one was taken, the state of the other
leaves after its last token. Either may be in memory, in a file, or both. Knows nothing about networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgelm.zoo.caches.leaves import Rows, State, cut_rows, size_bytes

Snapshot = tuple[State | None, ...]
"""The state of each leaf after some token; None for one that grows."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What was computed of some tokens; evaluated arrays."""

    rows: tuple[Rows | None, ...]
    """One for each leaf; None for one that does not grow."""
    snapshot: Snapshot | None = None
    """After the last token, where it was taken and is needed."""

    @property
    def size_bytes(self) -> int:
        """The bytes of all arrays in memory."""
        return size_bytes(self.rows) + size_bytes(self.snapshot or ())

    def cut(self, start: int, end: int, *, keep_snapshot: bool) -> Payload:
        """Return a part of its tokens."""
        rows = tuple(None if part is None else cut_rows(part, start, end) for part in self.rows)
        return Payload(rows, self.snapshot if keep_snapshot else None)


@dataclass(frozen=True, slots=True)
class FileSpan:
    """Where a node's payload is on the disk: tokens `start` to `end` of the stretch in one file."""

    name: str
    """The file's identity: a hash of everything from the first token to its last."""
    start: int
    end: int
    has_snapshot: bool
    """Whether the file's last token has one, and the span reaches it."""

    def cut(self, start: int, end: int) -> FileSpan:
        """Return a part of the span's tokens."""
        is_tail = self.start + end == self.end
        return FileSpan(self.name, self.start + start, self.start + end, self.has_snapshot and is_tail)


@dataclass(eq=False, slots=True)
class Node:
    """A stretch of tokens after those of its parents."""

    tokens: tuple[int, ...] = ()
    parent: Node | None = None
    payload: Payload | None = None
    span: FileSpan | None = None
    used: int = 0
    """When it was last of use, by the pool's own clock."""
    children: dict[int, Node] = field(default_factory=dict)
    """By their first token."""

    @property
    def end(self) -> int:
        """How many tokens there are from the first to its last."""
        return sum(len(node.tokens) for node in (self, *self.ancestors()))

    @property
    def has_snapshot(self) -> bool:
        """Whether the state of all leaves after its last token can be had."""
        if self.payload is not None and self.payload.snapshot is not None:
            return True
        return self.span is not None and self.span.has_snapshot

    @property
    def size_bytes(self) -> int:
        """The bytes that the node takes in memory."""
        return 0 if self.payload is None else self.payload.size_bytes

    def path(self) -> list[Node]:
        """Return the stretches from the first to this one, without the empty root."""
        found = [self, *self.ancestors()]
        return found[-2::-1]

    def ancestors(self) -> Iterator[Node]:
        """Yield its parents, nearest first, the root last."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def descendants(self) -> Iterator[Node]:
        """Yield all below it."""
        for child in self.children.values():
            yield child
            yield from child.descendants()

    def add(self, tokens: Sequence[int], payload: Payload | None, span: FileSpan | None = None) -> Node:
        """Return a new child."""
        child = Node(tuple(tokens), self, payload, span, self.used)
        self.children[child.tokens[0]] = child
        return child

    def split(self, length: int) -> Node:
        """Give the first `length` tokens a node of their own above this one; returns that."""
        if self.parent is None:
            raise ValueError("the root cannot be split")
        upper = self.parent.add(
            self.tokens[:length],
            self.payload and self.payload.cut(0, length, keep_snapshot=False),
            self.span and self.span.cut(0, length),
        )
        upper.used = self.used
        total = len(self.tokens)
        self.payload = self.payload and self.payload.cut(length, total, keep_snapshot=True)
        self.span = self.span and self.span.cut(length, total)
        self.tokens, self.parent = self.tokens[length:], upper
        upper.children[self.tokens[0]] = self
        return upper

    def remove(self) -> None:
        """Take it and all below it out of the tree."""
        if self.parent is not None:
            self.parent.children.pop(self.tokens[0], None)
            self.parent = None
