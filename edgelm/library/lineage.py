"""What was built on what: the parents that manifests name by hash, found again among models and adapters.

A tree is as deep as what is still on this machine; a parent that is gone is named by what its child knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm import paths
from edgelm.errors import FormatError, NotFoundError, UnsafeError
from edgelm.library.identity import identity_of, weights_identity
from edgelm.library.licence import licence_of
from edgelm.library.manifest import Manifest

_DEEPEST = 20
"""A manifest that was edited by hand might name itself."""


@dataclass(frozen=True)
class Ancestor:
    """A node of the tree."""

    name: str
    relation: str
    """To its child: "base", "adapter", "merged from", "converted from"."""
    kind: str | None
    sha256: str | None
    licence: str | None
    is_here: bool
    """Whether it is on this machine."""
    parents: tuple[Ancestor, ...] = ()


def lineage(directory: Path) -> Ancestor:
    """Read the tree of what a model or adapter was made from.

    Raises:
        FormatError: its manifest is broken.
    """
    return _node(directory, "", _artefacts(), 0)


def lines(root: Ancestor) -> Iterator[str]:
    """Return the tree as text, one node a line."""
    yield _line(root)
    yield from _branches(root, "")


def licences(root: Ancestor) -> list[str]:
    """List every licence in the tree, nearest first."""
    found = [root.licence] if root.licence else []
    for parent in root.parents:
        found += licences(parent)
    return list(dict.fromkeys(found))


def _branches(node: Ancestor, indent: str) -> Iterator[str]:
    for index, parent in enumerate(node.parents, start=1):
        is_last = index == len(node.parents)
        yield f"{indent}{'└─ ' if is_last else '├─ '}{_line(parent)}"
        yield from _branches(parent, indent + ("   " if is_last else "│  "))


def _line(node: Ancestor) -> str:
    relation = f"{node.relation}: " if node.relation else ""
    sha256 = f" {node.sha256[:12]}" if node.sha256 else ""
    licence = f" ({node.licence})" if node.licence else " (licence not known)"
    return f"{relation}{node.name}{sha256}{licence}" + ("" if node.is_here else ", not in the library here")


def _artefacts() -> dict[str, Path]:
    """Directory by identity. Only those with a manifest: others would have to be hashed now."""
    found: dict[str, Path] = {}
    for parent in (paths.models(), paths.adapters()):
        for directory in sorted(parent.iterdir()) if parent.is_dir() else ():
            if directory.name.startswith(".") or not (directory / "edgelm.json").exists():
                continue
            try:
                found[weights_identity(directory)] = directory
            except (FormatError, NotFoundError, UnsafeError, OSError):
                continue  # a broken neighbour is not this model's problem
    return found


def _node(directory: Path, relation: str, here: Mapping[str, Path], depth: int) -> Ancestor:
    manifest = Manifest.read(directory)
    said = manifest.parents if manifest and depth < _DEEPEST else []
    return Ancestor(
        name=directory.absolute().name,
        relation=relation,
        kind=manifest.kind if manifest else None,
        sha256=weights_identity(directory),
        licence=licence_of(directory),
        is_here=True,
        parents=tuple(_parent(parent, here, depth + 1) for parent in said),
    )


def _parent(said: Mapping[str, Any], here: Mapping[str, Path], depth: int) -> Ancestor:
    sha256, relation = said.get("sha256"), str(said.get("relation") or "converted from")
    # A conversion names the hashes of all files of its source: together they are the identity of a model.
    identity = identity_of(dict(sha256)) if isinstance(sha256, Mapping) and sha256 else sha256
    if isinstance(identity, str) and identity in here:
        return _node(here[identity], relation, here, depth)
    return Ancestor(
        name=str(said.get("name") or said.get("source")),
        relation=relation,
        kind=None,
        sha256=_one(sha256),
        licence=said.get("licence"),
        is_here=False,
    )


def _one(sha256: Any) -> str | None:
    """A conversion names the hashes of all files of its source: one stands for a single file."""
    if isinstance(sha256, Mapping):
        values = [str(value) for value in sha256.values()]
        return values[0] if len(values) == 1 else None
    return sha256 if isinstance(sha256, str) else None
