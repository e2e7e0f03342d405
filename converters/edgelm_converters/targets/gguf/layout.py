"""A network's tensors → the tensors of a GGUF file, by the rules of its family.

Knows names and shapes; reads nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.gguf.families.family import GGUFFamily
from edgelm_converters.sources.gguf.families.rows import Sizes
from edgelm_converters.sources.gguf.families.rule import Named, Rule
from edgelm_converters.sources.gguf.reader import StoredTensor
from edgelm_converters.sources.gguf.types.kinds import Kind

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """One rule in one layer: which of the network's tensors become which stored ones."""

    rule: Rule
    layer: int | None
    stored: tuple[str, ...]
    network: tuple[str, ...]
    """Names as the network has them, one for each of the rule's, those with stars spelled out."""


def placements(family: GGUFFamily, layers: int, names: Mapping[str, Shape]) -> list[Placement]:
    """Return the rules that apply to a network with tensors of `names`, each of which is used once.

    Args:
        names: the tensors under the names of the family's tables.

    Raises:
        UnsupportedError: a tensor that no rule of the family has.
    """
    left = dict(names)
    found: list[Placement] = []
    for layer in (None, *range(layers)):
        stored_prefix, prefix = ("", "") if layer is None else (f"blk.{layer}.", f"{family.prefix}{layer}.")
        for rule in family.outer if layer is None else family.block:
            network = _present(rule.network, prefix, left)
            if network is None:
                continue
            stored = tuple(stored_prefix + each.name for each in rule.stored)
            found.append(Placement(rule, layer, stored, network))
            for name in network:
                del left[name]
    if left:
        raise UnsupportedError(
            f"a {family.architecture} GGUF has no place for {min(left)} ({len(left)} such tensors)"
        )
    return found


def _present(tensors: Collection[Named], prefix: str, names: Collection[str]) -> tuple[str, ...] | None:
    """The names of a rule's tensors, if all of them are there; of one with a star, all that are."""
    found: list[str] = []
    for tensor in tensors:
        if "*" not in tensor.name:
            each = [prefix + tensor.name]
        else:
            each = []
            while (name := prefix + tensor.name.replace("*", str(len(each)))) in names:
                each.append(name)
        if not each or any(name not in names for name in each):
            return None
        found += each
    return tuple(found)


def provisional(placed: Collection[Placement], names: Mapping[str, Shape]) -> dict[str, StoredTensor]:
    """Return stand-ins of the stored tensors, for what reads lengths off them: each has the shape of what it is made of."""
    found = {}
    for each in placed:
        for stored in each.stored:
            shape = names[each.network[0]]
            found[stored] = StoredTensor(stored, shape, Kind.F32, Path("the export"), 0)
    return found


def stored_shapes(placement: Placement, sizes: Sizes) -> Iterator[tuple[str, Shape]]:
    """Yield the stored tensors of a placement with their shapes, rows first."""
    for name, tensor in zip(placement.stored, placement.rule.stored, strict=True):
        yield name, tensor.shape_for(sizes)
