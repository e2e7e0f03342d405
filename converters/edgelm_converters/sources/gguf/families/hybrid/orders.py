"""Orders of the rows of linear attention, and changes of values that go with them.

A head of keys serves several heads of values. Networks have the values' heads of one head of keys side by side (grouped); ggml
repeats keys as a whole, so llama.cpp's converter puts the first of each group first, then the second of each (tiled).
Source: conversion/qwen.py, `_LinearAttentionVReorderBase` and `Qwen3NextModel.modify_tensors`.

Lengths: k_heads and v_heads, k_head and v_head dimensions of one, k and v of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelm_converters.sources.gguf.families.rows import Indices, RowOrder, Sizes
from edgelm_converters.sources.gguf.families.values import ValueChange, Values


def tiled(width: str | None = None, *before: str) -> RowOrder:
    """Return the order of rows that belong to heads of values, stored tiled.

    Args:
        width: the length of a head; a row for each if not said.
        before: lengths of what lies before them and is left alone.
    """

    def indices(sizes: Sizes) -> Indices:
        rows = sizes[width] if width else 1
        start = sum(sizes[name] for name in before)
        grouped = np.arange(sizes["v_heads"] * rows).reshape(-1, sizes["k_heads"], rows).swapaxes(0, 1)
        return np.concatenate([np.arange(start), start + grouped.reshape(-1)])

    return RowOrder(indices)


def _interleaved(sizes: Sizes) -> Indices:
    groups = sizes["k_heads"]
    ends = np.cumsum([sizes["k"], sizes["k"], sizes["v"], sizes["v"]])
    parts = np.split(np.arange(ends[-1]), ends[:-1])
    return np.concatenate([part.reshape(groups, -1) for part in parts], axis=1).reshape(-1)


INTERLEAVED = RowOrder(_interleaved)
"""Queries, keys, values and gates, stored one after another; Qwen3-Next has those of each head of keys side by side."""


@dataclass(frozen=True, slots=True)
class RowsThen:
    """Rows in another order, and then another change of their values."""

    order: RowOrder
    then: ValueChange

    def from_gguf(self, stored: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return the network's tensors: rows moved, then changed."""
        return self.then.from_gguf([self.order.from_gguf(values, sizes) for values in stored], sizes)

    def to_gguf(self, network: Sequence[Values], sizes: Sizes) -> list[Values]:
        """Return the stored tensors: changed back, then moved back."""
        changed = self.then.to_gguf(network, sizes)
        return [self.order.to_gguf(values.reshape(len(values), -1), sizes) for values in changed]
