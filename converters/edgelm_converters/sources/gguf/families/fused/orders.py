"""Orders of the rows of fused projections; stored are all queries, then all keys, then all values."""

from __future__ import annotations

import numpy as np

from edgelm_converters.sources.gguf.families.rows import Indices, RowOrder, Sizes, permuted

Q, K = permuted("heads"), permuted("kv_heads")


def _by_head(sizes: Sizes) -> Indices:
    rows = np.arange(3 * sizes["q"]).reshape(3, sizes["heads"], -1)
    return rows.swapaxes(0, 1).reshape(-1)


BY_HEAD = RowOrder(_by_head)
"""GPT-NeoX has query, key and value of a head side by side."""


def _parts(sizes: Sizes) -> tuple[Indices, Indices, Indices]:
    q, kv = sizes["q"], sizes["kv"]
    return Q.indices(sizes), q + K.indices(sizes), q + kv + np.arange(kv)


PERMUTED = RowOrder(lambda sizes: np.concatenate(_parts(sizes)))
"""Queries, keys and values, of which llama.cpp permuted the first two."""


def _by_group(sizes: Sizes) -> Indices:
    groups = sizes["kv_heads"]
    return np.concatenate([part.reshape(groups, -1) for part in _parts(sizes)], axis=1).reshape(-1)


BY_GROUP = RowOrder(_by_group)
"""InternLM2 has the queries that share a key, then that key and its value, side by side."""
