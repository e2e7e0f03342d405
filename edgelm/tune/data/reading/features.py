"""Values of a Hub dataset as its rows were written, told by the dataset's features.

`datasets` keeps rows in Arrow tables and gives its own names to the types; `Json` values come back as they were, with
the nulls that they have. Otherwise as in `containers.arrow`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.tune.data.reading.arrow import Restore, listed, without_nulls


def feature_restorer(feature: Any) -> Restore:
    """Return what restores values of a `datasets` feature: a mapping, a list, `List`, `LargeList`, `Json` or a plain one."""
    if isinstance(feature, Mapping):
        fields = {name: feature_restorer(inner) for name, inner in feature.items()}
        return lambda value: without_nulls(value, fields) if isinstance(value, Mapping) else value
    if isinstance(feature, list) and len(feature) == 1:
        return listed(feature_restorer(feature[0]))
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _listed_or_split(feature_restorer(inner))
    return lambda value: value


def _listed_or_split(item: Restore) -> Restore:
    """A list; a `Sequence` of objects comes as one object of lists, which is put together again."""

    def restore(value: Any) -> Any:
        if isinstance(value, Mapping):
            return [item(one) for one in joined(value)]
        return None if value is None else [item(one) for one in value]

    return restore


def joined(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turn `{"role": [a, b], "content": [c, d]}` into two objects."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
