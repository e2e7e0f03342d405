"""Stored tensors → the tensors of a network, by the rules of its family; none is left over, and none has another shape.

Reads no data and knows no family.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence

from edgelm.errors import FormatError
from edgelm_converters.sources.gguf.families.family import GGUFFamily
from edgelm_converters.sources.gguf.families.lengths import PARTS, Lengths, Tensors
from edgelm_converters.sources.gguf.families.rows import Indices, Sizes
from edgelm_converters.sources.gguf.families.rule import Named, Rule
from edgelm_converters.sources.gguf.families.values import ColumnsMoved, Values
from edgelm_converters.sources.gguf.gathered import Compute, Gathered, Target
from edgelm_converters.sources.gguf.reader import StoredTensor

BLOCK_NAME = re.compile(r"blk\.(?P<layer>0|[1-9][0-9]{0,4})\.(?P<rest>.+)")
IGNORED = re.compile(
    r"rope_freqs\.weight|rope_factors_(long|short)\.weight"
    r"|blk\.\d+\.(rope_freqs|rope_factors_long|rope_factors_short|attn_rot_embd)\.weight"
)
"""Tables that a model computes for itself; the ones that change its values are read with the config."""


def targets(family: GGUFFamily, lengths: Lengths, tensors: Tensors) -> Iterator[Target]:
    """Yield every tensor that a network of `lengths` gets of the stored `tensors`.

    Raises:
        FormatError: a tensor that the family has not, or of another shape, or of a rule whose other tensors are missing; a
            length that no tensor has.
    """
    left = {name for name in tensors if not IGNORED.fullmatch(name)}
    left -= {name for name in left if _is_left_out(name, family, lengths)}
    seen: set[str] = set()
    for layer in (None, *range(lengths.layers)):
        sizes = lengths.at(layer)
        stored_prefix, prefix = ("", "") if layer is None else (f"blk.{layer}.", f"{family.prefix}{layer}.")
        for rule in family.outer if layer is None else family.block:
            stored = [
                tensors[name] for tensor in rule.stored if (name := stored_prefix + tensor.name) in tensors
            ]
            if not stored:
                continue
            _check_complete(rule, stored, stored_prefix)
            _check_shapes(rule, stored, sizes)
            seen |= {length for tensor in rule.stored for length in tensor.shape if isinstance(length, str)}
            left -= {tensor.name for tensor in stored}
            yield from targets_of(rule, stored, sizes, prefix)
    if left:
        name = min(left)
        raise FormatError(
            f"{tensors[name].path} has a tensor {name!r}, which a {family.architecture} model has not"
        )
    _check_seen(family, lengths, seen, tensors)


def _is_left_out(name: str, family: GGUFFamily, lengths: Lengths) -> bool:
    match = BLOCK_NAME.fullmatch(name)
    return match is not None and (
        int(match["layer"]) >= lengths.layers or match["rest"] in family.ignored_tensors
    )


def _check_complete(rule: Rule, stored: Sequence[StoredTensor], prefix: str) -> None:
    if len(stored) < len(rule.stored):
        found = {tensor.name for tensor in stored}
        missing = next(tensor.name for tensor in rule.stored if prefix + tensor.name not in found)
        raise FormatError(
            f"{stored[0].path} has a tensor {stored[0].name!r} and no {prefix + missing!r}, expected both"
        )


def _check_shapes(rule: Rule, stored: Sequence[StoredTensor], sizes: Sizes) -> None:
    for tensor, expected in zip(stored, rule.stored, strict=True):
        shape = expected.shape_for(sizes)
        if _without_ones(tensor.shape) != _without_ones(shape):
            raise FormatError(
                f"{tensor.path}: tensor {tensor.name!r} has shape {tensor.shape}, expected {shape}"
            )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as ggml has it, which does not know of leading dimensions of 1."""
    start = next((index for index, length in enumerate(shape[:-1]) if length != 1), len(shape) - 1)
    return shape[start:]


def _check_seen(family: GGUFFamily, lengths: Lengths, seen: set[str], tensors: Tensors) -> None:
    """A length that no tensor has could be any number, and a network would be made of it.

    Where every layer has experts, the width of a dense block is one that nothing is made of.
    """
    seen = seen.union(
        {"feed_forward"} if "experts" in seen else (), *(PARTS[name] for name in seen & PARTS.keys())
    )
    known = {
        length for rule in (*family.outer, *family.block) for tensor in rule.stored for length in tensor.shape
    }
    sizes = [lengths.at(layer) for layer in range(lengths.layers)]
    for name in sorted(length for length in known if isinstance(length, str) and length not in seen):
        largest = max(each.get(name, 0) for each in sizes)
        if largest > 0 and name in {*lengths.fixed, *lengths.by_layer}:
            path = next(iter(tensors.values())).path
            raise FormatError(f"{path} says that {name} is {largest}, and has no tensor of that length")


def targets_of(
    rule: Rule, stored: Sequence[StoredTensor], sizes: Sizes, prefix: str = ""
) -> Iterator[Target]:
    """Yield what one rule makes of the `stored` tensors, which have the shapes that it says, under names with `prefix`."""
    sources = tuple(stored)
    if rule.values is not None:
        moved = rule.values if isinstance(rule.values, ColumnsMoved) else None
        columns = functools.partial(moved.columns, sizes) if moved else None
        for index, tensor in enumerate(rule.network):
            shape, compute = tensor.shape_for(sizes), _computed(rule, index, sizes)
            yield Target(prefix + tensor.name, shape, Gathered(sources), compute, columns)
        return
    start = 0
    for tensor in _one_by_one(rule.network, sizes):
        rows = tensor.rows_for(sizes)
        is_whole = rule.rows is None and tensor in rule.network and len(rule.network) == 1
        order = None if is_whole else _order(rule, sizes, start, rows)
        yield Target(
            prefix + tensor.name, tensor.shape_for(sizes), Gathered(sources, rows if order else 0, order)
        )
        start += rows


def _one_by_one(tensors: Sequence[Named], sizes: Sizes) -> Iterator[Named]:
    """Tensors, those with a star in their name one for each item of the first dimension."""
    for tensor in tensors:
        if "*" not in tensor.name:
            yield tensor
            continue
        for index in range(tensor.shape_for(sizes)[0]):
            yield Named(tensor.name.replace("*", str(index)), tensor.shape[1:])


def _order(rule: Rule, sizes: Sizes, start: int, rows: int) -> Callable[[], Indices]:
    def order() -> Indices:
        import numpy as np

        span = slice(start, start + rows)
        return np.arange(span.start, span.stop) if rule.rows is None else rule.rows.indices(sizes)[span]

    return order


def _computed(rule: Rule, index: int, sizes: Sizes) -> Compute:
    def compute(stored: Sequence[Values]) -> Values:
        return rule.from_gguf(stored, sizes)[index]

    return compute
