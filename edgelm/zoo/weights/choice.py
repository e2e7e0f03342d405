"""Which of the files that lie together make the model: one file, or those that the index names.

The order is transformers' (5.24, `modeling_utils._get_resolved_checkpoint_files`): `model.safetensors`, the index of
safetensors, `pytorch_model.bin`, the index of those. A file that none of them names is no part of the model, whatever it
is called. Shards without an index, which transformers does not load and mlx-lm does, count only as one whole set. Works
on names alone, so that a directory and a repository of the Hub are read alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgelm.errors import FormatError, UnsafeError

SplitKind = Literal["safetensors", "pytorch"]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)(?P<end>\.\w+)")
MOST_SHARDS = 10_000
_SHOWN = 10


@dataclass(frozen=True)
class Naming:
    """How the files of one kind of weights are called."""

    single: str
    index: str
    pattern: re.Pattern[str]


NAMING: dict[SplitKind, Naming] = {
    "safetensors": Naming(
        "model.safetensors", "model.safetensors.index.json", re.compile(r"model.*\.safetensors")
    ),
    "pytorch": Naming(
        "pytorch_model.bin", "pytorch_model.bin.index.json", re.compile(r"pytorch_model.*\.bin")
    ),
}

ReadIndex = Callable[[str], Any]
"""The parsed JSON of an index file, by its name."""


@dataclass(frozen=True)
class Choice:
    """The weight files of a model, by name and in order."""

    files: tuple[str, ...]
    places: Mapping[str, str] = field(default_factory=dict)
    """Tensor → file, where an index decides; empty otherwise."""
    index: str | None = None
    """The index that decides."""


def kind_of(names: Collection[str]) -> SplitKind | None:
    """Return the kind of weights that transformers loads where files of these names lie together; None if there are none."""
    for kind, naming in NAMING.items():
        if naming.single in names or naming.index in names:
            return kind
    for kind, naming in NAMING.items():
        if any(naming.pattern.fullmatch(name) for name in names):
            return kind
    return None


def choose(
    kind: SplitKind, names: Collection[str], read_index: ReadIndex, where: str, *, explicit: str | None = None
) -> Choice | None:
    """Choose the files of the model among `names`; None if there are none.

    Args:
        names: the files that lie there, without directories.
        read_index: called for the index, if it decides.
        where: what messages call the place.
        explicit: the file or index that the config names, which then decides alone.

    Raises:
        FormatError: the index is none or names files that are missing; or shards without an index are not one whole set.
        UnsafeError: the index names a file in another directory.
    """
    if explicit is not None:
        _refuse_absent([explicit], names, where)
        said = read_index(explicit) if explicit.endswith(".index.json") else None
        return Choice((explicit,)) if said is None else choose_by_index(explicit, said, names, where)
    naming = NAMING[kind]
    if naming.single in names:
        return Choice((naming.single,))
    if naming.index in names:
        return choose_by_index(naming.index, read_index(naming.index), names, where)
    found = sorted(name for name in names if naming.pattern.fullmatch(name))
    return Choice(_one_set(found, names, where)) if found else None


def choose_by_index(index: str, said: Any, names: Collection[str], where: str) -> Choice:
    """Return the files that the index names.

    Raises:
        FormatError: it is no index, or files are missing.
        UnsafeError: it names a file in another directory.
    """
    places = said.get("weight_map") if isinstance(said, dict) else None
    if not isinstance(places, dict) or not places or {type(name) for name in places.values()} != {str}:
        raise FormatError(f"{index} of {where} has no weight_map from tensors to file names")
    files = sorted(set(places.values()))
    for name in files:
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise UnsafeError(f"{index} of {where} names {name!r}, expected a file beside it")
    _refuse_absent(files, names, where)
    return Choice(tuple(files), places, index)


def _one_set(found: list[str], names: Collection[str], where: str) -> tuple[str, ...]:
    """All of `found`, which have to be one set of shards that is whole, or to be no shards."""
    matches = {name: _SHARD.fullmatch(name) for name in found}
    sets = {(m["stem"], m["count"], m["end"]) if m else None for m in matches.values()}
    if len(sets) > 1:
        shown = ", ".join(sorted({_set_name(name, match) for name, match in matches.items()}))
        raise FormatError(
            f"{where} holds weights of several sets and no index that says which belong together: {shown}",
            hint="move what does not belong to the model elsewhere",
        )
    wanted: set[str] = set()
    for match in matches.values():
        if match:
            count = min(int(match["count"]), MOST_SHARDS)
            wanted |= {_renumber(match, number) for number in range(1, count + 1)}
    _refuse_absent(sorted(wanted | set(found)), names, where)
    return tuple(found)


def _set_name(name: str, match: re.Match[str] | None) -> str:
    return f"{match['stem']}-*-of-{match['count']}{match['end']}" if match else name


def _renumber(match: re.Match[str], number: int) -> str:
    width = len(match["number"])
    return f"{match['stem']}-{number:0{width}d}-of-{match['count']}{match['end']}"


def _refuse_absent(files: list[str], names: Collection[str], where: str) -> None:
    absent = sorted(set(files) - set(names))
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        raise FormatError(
            f"{where} lacks {len(absent)} of its {len(files)} weight files: {', '.join(absent[:_SHOWN])}{more}",
            hint="the download or the upload may be unfinished",
        )
