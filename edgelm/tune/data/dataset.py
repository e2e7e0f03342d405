"""Rows that passed every check, ready to be batched, with a hash of what they say.

The hash covers token ids, trained marks, labels and order, not the files: the same rows under another name
are the same data. Knows nothing about how they were made.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

from edgelm.tune.data.mismatched import mismatched_answers
from edgelm.tune.data.rows import Example, Judged, Kind, Pair, Row


@dataclass(frozen=True)
class Dataset(Sequence[Row]):
    """Rows of one kind: all `Example` ("sft"), all `Pair` ("preference") or all `Judged` ("kto")."""

    rows: tuple[Row, ...]
    kind: Kind = "sft"
    changes: tuple[str, ...] = field(default=())
    """What was done to the data on request, in words: "3 rows cut to 2,048 tokens"."""

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def sequences(self) -> Iterator[Example]:
        """Every sequence that goes through the network."""
        return (sequence for row in self.rows for sequence in row.sequences)

    @cached_property
    def mismatched(self) -> tuple[Example, ...]:
        """Each judged row's prompt with the answer to another; none of other kinds."""
        return mismatched_answers([row for row in self.rows if isinstance(row, Judged)])

    @cached_property
    def token_count(self) -> int:
        """Tokens that the network reads in one epoch."""
        return sum(sequence.size for sequence in self.sequences)

    @cached_property
    def target_count(self) -> int:
        """Tokens that are trained in one epoch."""
        return sum(row.target_count for row in self.rows)

    @cached_property
    def longest(self) -> int:
        """`size` of the longest sequence."""
        return max((sequence.size for sequence in self.sequences), default=0)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the content, in hexadecimal."""
        digest = hashlib.sha256(self.kind.encode())
        for row in self.rows:
            digest.update(_label(row))
            for sequence in row.sequences:
                digest.update(len(sequence.tokens).to_bytes(8, "little"))
                digest.update(array("q", sequence.tokens).tobytes())
                digest.update(bytes(sequence.trained))
        return digest.hexdigest()


def _label(row: Row) -> bytes:
    if isinstance(row, Judged):
        return b"desirable" if row.is_desirable else b"undesirable"
    if isinstance(row, Pair):
        return f"pair {row.margin!r}".encode() if row.margin else b"pair"
    return b"row"
