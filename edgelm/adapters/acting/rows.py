"""The rows of one call of the network, by who acts on them; modules with adapters look it up while they build their part.

Rows are told by the first axis of what a module is given, `[B, …]`, or by `[B·T, …]` where an architecture has laid the tokens
of all rows behind each other. Whether an architecture keeps to that is tried on it (`runtime/batching/exactness.py`).

Shapes: B rows, T tokens of each, R ranks of all adapters together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from weakref import ref

import mlx.core as mx

from edgelm.adapters.acting.joined import JoinedAdapters, Parts
from edgelm.adapters.acting.variant import LoadedAdapter, Variant
from edgelm.errors import EngineError


class RowGroups:
    """The rows of calls, grouped by variant.

    Args:
        rows: the variant of each.
    """

    def __init__(self, rows: Sequence[Variant]) -> None:
        self.rows = tuple(rows)
        groups: dict[str, tuple[Variant, list[int]]] = {}
        for row, variant in enumerate(rows):
            groups.setdefault(variant.key, (variant, []))[1].append(row)
        self.groups = tuple(groups.values())
        """Each variant, with its rows."""
        self.joined: JoinedAdapters | None = None
        """Everybody who acts on one of the rows, once a module asks for it."""
        self._places: dict[tuple[int, ...], mx.array] = {}
        self._shares: dict[tuple[Parts, int], mx.array] = {}

    @property
    def only(self) -> Variant | None:
        """The variant of all rows; None where there are several."""
        return self.groups[0][0] if len(self.groups) == 1 else None

    @property
    def adapters(self) -> tuple[LoadedAdapter, ...]:
        """Everybody who acts on one of the rows, in an order of their own."""
        found = {each.fingerprint: each for variant, _ in self.groups for each, _ in variant.acting}
        return tuple(found[fingerprint] for fingerprint in sorted(found))

    def places(self, rows: Sequence[int], tokens: int) -> mx.array:
        """Return where rows of so many places each stand, in order."""
        key = (tokens, *rows)
        if key not in self._places:
            places = (place for row in rows for place in range(row * tokens, (row + 1) * tokens))
            self._places[key] = mx.array(list(places))
        return self._places[key]

    def shares(self, joined: JoinedAdapters, parts: Parts, tokens: int) -> mx.array:
        """Return `[B · tokens, R]`: how strongly each rank of `parts` acts on each row."""
        if (parts, tokens) not in self._shares:
            weights = [
                {adapter.fingerprint: weight for adapter, weight in variant.acting} for variant in self.rows
            ]
            shares = [
                [
                    weight.get(joined.adapters[at].fingerprint, 0.0) * scale
                    for at, rank, scale in parts
                    for _ in range(rank)
                ]
                for weight in weights
                for _ in range(tokens)
            ]
            self._shares[parts, tokens] = mx.array(shares)
        return self._shares[parts, tokens]


class Acting:
    """Who acts in the call of a network that is being built."""

    def __init__(self) -> None:
        self.default = self.base = Variant()
        """Who acts where nobody says otherwise; the network without adapters."""
        self._groups: RowGroups | None = None
        self._tokens = 0
        self._last: ref[JoinedAdapters] | None = None

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
            (variant, self._now.places(rows, self._tokens_on(lead)))
            for variant, rows in self._now.groups
            if variant.touches(paths)
        ]

    def others(self, lead: int, paths: Iterable[str]) -> mx.array | None:
        """Return the places of the rows that `parts` leaves out; None where it leaves out none."""
        untouched = (mine for variant, mine in self._now.groups if not variant.touches(paths))
        rows = sorted(row for mine in untouched for row in mine)
        return self._now.places(rows, self._tokens_on(lead)) if rows else None

    def added(self, path: str, plain: mx.array, x: mx.array) -> mx.array | None:
        """Return `plain` with what all adapters make of `x` in one go; None for rows of one variant, and where that cannot be.

        Raises:
            EngineError: the first axis of `x` is not that of the rows.
        """
        if self.only is not None:
            return None
        joined = self._joined()
        if (layer := joined.at(path)) is None:
            return None
        shares = self._now.shares(joined, layer.parts, self._tokens_on(x.shape[0]))
        shares = shares.reshape(shares.shape[0], *[1] * (x.ndim - 2), shares.shape[1])
        inner = x @ layer.first
        # Struck out, not multiplied by zero: what another adapter gives here may be infinite.
        inner = mx.where(shares != 0, inner * shares, mx.zeros((), inner.dtype))
        return plain + (inner @ layer.second).astype(plain.dtype)

    @property
    def _now(self) -> RowGroups:
        assert self._groups is not None
        return self._groups

    def _joined(self) -> JoinedAdapters:
        """The adapters of the rows, joined; those of the rows before, where they were the same."""
        groups = self._now
        if groups.joined is None:
            last = self._last() if self._last is not None else None
            is_same = last is not None and list(map(id, last.adapters)) == list(map(id, groups.adapters))
            groups.joined = last if is_same else JoinedAdapters(groups.adapters)
            assert groups.joined is not None
            self._last = ref(groups.joined)
        return groups.joined

    def _tokens_on(self, lead: int) -> int:
        """How many places of an axis of size `lead` each row has."""
        count = len(self._now.rows)
        if lead == count:
            return 1
        if lead != count * self._tokens:
            raise EngineError(
                f"a module got {lead} rows of a batch of {count}: adapters cannot act on some of them here"
            )
        return self._tokens
