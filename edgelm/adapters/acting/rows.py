"""The rows of one call of the network, by who acts on them; modules with adapters look it up while they build their part.

Rows are told by the first axis of what a module is given, `[B, …]`, or by `[B·T, …]` where an architecture has laid the tokens
of all rows behind each other. Whether an architecture keeps to that is tried on it (`runtime/batching/exactness.py`).

Shapes: B rows, T tokens of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import mlx.core as mx

from edgelm.adapters.acting.variant import Variant
from edgelm.errors import EngineError


class RowGroups:
    """The rows of calls, grouped by variant.

    Args:
        rows: the variant of each.
    """

    def __init__(self, rows: Sequence[Variant]) -> None:
        self.count = len(rows)
        groups: dict[str, tuple[Variant, list[int]]] = {}
        for row, variant in enumerate(rows):
            groups.setdefault(variant.key, (variant, []))[1].append(row)
        self.groups = tuple(groups.values())
        """Each variant, with its rows."""

    @property
    def only(self) -> Variant | None:
        """The variant of all rows; None where there are several."""
        return self.groups[0][0] if len(self.groups) == 1 else None


class Acting:
    """Who acts in the call of a network that is being built."""

    def __init__(self) -> None:
        self.default = self.base = Variant()
        """Who acts where nobody says otherwise; the network without adapters."""
        self._groups: RowGroups | None = None
        self._tokens = 0

    @property
    def only(self) -> Variant | None:
        """The variant of all rows; None where there are several."""
        return self.default if self._groups is None else self._groups.only

    @contextmanager
    def on(self, groups: RowGroups, tokens: int) -> Iterator[None]:
        """Let these act in the calls of the block, whose rows have so many tokens each."""
        before = self._groups, self._tokens
        self._groups, self._tokens = groups, tokens
        try:
            yield
        finally:
            self._groups, self._tokens = before

    @contextmanager
    def alone(self, variant: Variant) -> Iterator[None]:
        """Let one variant act on whatever is computed in the block."""
        with self.on(RowGroups([variant]), 0):
            yield

    def parts(self, lead: int, paths: Iterable[str]) -> list[tuple[Variant, mx.array]]:
        """Return the variants that touch one of the modules at `paths`, with their rows' places on an axis of size `lead`.

        Raises:
            EngineError: the axis is not that of the rows.
        """
        return [
            (variant, self._places(rows, lead))
            for variant, rows in (self._groups.groups if self._groups else ())
            if variant.touches(paths)
        ]

    def others(self, lead: int, paths: Iterable[str]) -> mx.array | None:
        """Return the places of the rows that `parts` leaves out; None where it leaves out none."""
        groups = self._groups.groups if self._groups else ()
        rows = sorted(row for variant, mine in groups if not variant.touches(paths) for row in mine)
        return self._places(rows, lead) if rows else None

    def _places(self, rows: Sequence[int], lead: int) -> mx.array:
        assert self._groups is not None
        count = self._groups.count
        if lead == count:
            return mx.array(list(rows))
        if lead != count * self._tokens:
            raise EngineError(
                f"a module got {lead} rows of a batch of {count}: adapters cannot act on some of them here"
            )
        tokens = self._tokens
        return mx.array([place for row in rows for place in range(row * tokens, (row + 1) * tokens)])
