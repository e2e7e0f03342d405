"""The bytes of the stored tensors, a slice of rows at a time.

A placement is written in one of three ways: packed rows whose codes move as they are, rows of values that are encoded, or
tensors that are computed from the network's by their rule. Memory holds the network's tensors of one placement, as rows in
another order need them whole, or a slice of them where rows stay in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.errors import FormatError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.gguf.families.rows import Sizes
from edgelm_converters.sources.gguf.types.kinds import Kind
from edgelm_converters.targets.gguf.blocks.registry import ENCODERS, FLOATS, decoded
from edgelm_converters.targets.gguf.blocks.repack import PackedRows, block_form, repacked, rounding_error
from edgelm_converters.targets.gguf.choice import BEST, fitting, float_kind, is_float32
from edgelm_converters.targets.gguf.framing import StoredLayout
from edgelm_converters.targets.gguf.layout import Placement, stored_shapes
from edgelm_converters.weights.packed import unpacked

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
SLICE_VALUES = 1 << 21
"""8 MB of float32."""


@dataclass(slots=True)
class Lost:
    """What a tensor lost against its source: squared errors and squared values, summed."""

    error: float = 0.0
    power: float = 0.0

    @property
    def relative(self) -> float:
        """Return the mean squared error relative to the mean square."""
        return self.error / self.power if self.power else 0.0


@dataclass(frozen=True, slots=True)
class PlacedTensors:
    """A placement with the types of its stored tensors."""

    placement: Placement
    sizes: Sizes
    stored: tuple[StoredLayout, ...]
    is_repacked: bool = False
    """Codes move as they are."""


@dataclass
class Contents:
    """Reads a network's tensors, under the names of a family's tables, as stored ones.

    Args:
        tensors: packed modules as triples.
        packed: module path → its settings.
        importance: stored name → [W] or, by expert, [E, W]: what columns matter.
    """

    tensors: Mapping[str, LazyTensor]
    packed: Mapping[str, Mapping[str, Any]]
    importance: Mapping[str, Floats] = field(default_factory=dict)
    lost: dict[str, Lost] = field(default_factory=dict)
    """By stored name, once written: what is stored otherwise than it was."""

    def __post_init__(self) -> None:
        self._dense = unpacked(self.tensors, {path: dict(said) for path, said in self.packed.items()})

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor, unpacked."""
        return {name: tensor.shape for name, tensor in self._dense.items()}

    def placed(self, placement: Placement, sizes: Sizes, wanted: Kind | None) -> PlacedTensors:
        """Choose the types of a placement's stored tensors.

        Args:
            wanted: for matrices; None keeps what the network has.

        Raises:
            FormatError: the network's tensors are not of the size that the config says.
        """
        shapes = list(stored_shapes(placement, sizes))
        self._check_size(placement, shapes)
        form = self._block_form(placement, shapes) if wanted is None else None
        if form is not None:
            stored = tuple(StoredLayout(name, shape, form) for name, shape in shapes)
            return PlacedTensors(placement, sizes, stored, is_repacked=True)
        found = [StoredLayout(n, shape, self._kind(placement, n, shape, wanted)) for n, shape in shapes]
        return PlacedTensors(placement, sizes, tuple(found))

    def _check_size(self, placement: Placement, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        has = sum(math.prod(self._dense[name].shape) for name in placement.network)
        wants = sum(math.prod(shape) for _, shape in shapes)
        if has != wants:
            name = placement.network[0]
            raise FormatError(
                f"{name} is {self._dense[name].shape}, and {placement.stored[0]} would be {shapes[0][1]} by the config"
            )

    def _kind(self, placement: Placement, name: str, shape: tuple[int, ...], wanted: Kind | None) -> Kind:
        if is_float32(name, shape):
            return Kind.F32
        if wanted is not None:
            return fitting(wanted, shape[-1])
        first = placement.network[0]
        if _module(first) in self.packed:
            return fitting(BEST, shape[-1])
        return float_kind(self._dense[first].dtype)

    def _block_form(self, placement: Placement, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> Kind | None:
        """The type that all packed tensors of a placement have the form of."""
        modules = [_module(name) for name in placement.network]
        if placement.rule.values is not None or any(module not in self.packed for module in modules):
            return None
        if any(is_float32(*each) for each in shapes) or len({str(self.packed[m]) for m in modules}) > 1:
            return None
        width = shapes[0][1][-1]
        forms = set()
        for module in modules:
            rows = self._packed_rows(module, with_codes=False)
            forms.add(block_form(rows.settings, width, rows.scales, rows.biases))
        return forms.pop() if len(forms) == 1 else _common(forms)

    def pieces(self, placed: PlacedTensors) -> Iterator[tuple[StoredLayout, Array]]:
        """Yield the bytes of a placement's stored tensors in order, by slices of rows."""
        if placed.is_repacked:
            yield from self._repacked(placed)
        elif placed.placement.rule.values is not None:
            yield from self._computed(placed)
        else:
            yield from self._encoded_rows(placed)

    def _repacked(self, placed: PlacedTensors) -> Iterator[tuple[StoredLayout, Array]]:
        rows = _joined([self._packed_rows(_module(name)) for name in placed.placement.network])
        order = _order(placed)
        for tensor, start, stop in _slices(placed.stored):
            taken = np.arange(start, stop) if order is None else order[start:stop]
            part = rows.take(taken)
            self._note(tensor.name, *rounding_error(part))
            yield tensor, repacked(part, tensor.kind)

    def _computed(self, placed: PlacedTensors) -> Iterator[tuple[StoredLayout, Array]]:
        network = [self._values(name) for name in placed.placement.network]
        found = placed.placement.rule.to_gguf(network, placed.sizes)
        network.clear()
        for tensor, values in zip(placed.stored, found, strict=True):
            rows = values.reshape(-1, tensor.shape[-1])
            for _, start, stop in _slices((tensor,)):
                yield tensor, self._encode(tensor, rows[start:stop], start)

    def _encoded_rows(self, placed: PlacedTensors) -> Iterator[tuple[StoredLayout, Array]]:
        names, order = placed.placement.network, _order(placed)
        if len(placed.stored[0].shape) == 1:
            items = np.concatenate([self._values(name).reshape(-1) for name in names])
            items = items if order is None else items[order]
            start = 0
            for tensor in placed.stored:
                stop = start + tensor.shape[0]
                yield tensor, self._encode(tensor, items[None, start:stop], 0)
                start = stop
            return
        if order is None and len(names) == 1 and self._dense[names[0]].read_rows is not None:
            yield from self._streamed(names[0], placed.stored)
            return
        width = placed.stored[0].shape[-1]
        rows = [self._dense[name].read().reshape(-1, width) for name in names]
        table = rows[0] if len(rows) == 1 else mx.concatenate(rows)
        rows.clear()
        for tensor, start, stop in _slices(placed.stored):
            part = table[start:stop] if order is None else table[mx.array(order[start:stop])]
            yield tensor, self._encode(tensor, _numpy(part), start)

    def _streamed(self, name: str, stored: Sequence[StoredLayout]) -> Iterator[tuple[StoredLayout, Array]]:
        """Rows that stay in order, of a source that reads some of them: whole ones of the first axis at a time."""
        source = self._dense[name]
        assert source.read_rows is not None
        inner = math.prod(source.shape[1:-1])
        done = 0
        for tensor in stored:
            rows = math.prod(tensor.shape[:-1]) // inner
            step = max(1, SLICE_VALUES // (inner * tensor.shape[-1]))
            for start in range(0, rows, step):
                stop = min(start + step, rows)
                values = source.read_rows(done + start, done + stop).reshape(-1, tensor.shape[-1])
                yield tensor, self._encode(tensor, _numpy(values), start * inner)
            done += rows

    def _encode(self, tensor: StoredLayout, values: Floats, start: int) -> Array:
        raw = ENCODERS[tensor.kind](values, self._importance_at(tensor, start))
        again = values if tensor.kind == Kind.F32 else decoded(raw, tensor.kind)
        error = float(np.square(again - values, dtype=np.float64).sum())
        self._note(tensor.name, error, float(np.square(values, dtype=np.float64).sum()))
        return raw

    def _importance_at(self, tensor: StoredLayout, start: int) -> Floats | None:
        """What columns matter in the rows from `start` on; experts have their own."""
        found = self.importance.get(tensor.name)
        if found is None or tensor.kind in FLOATS:
            return None
        if found.ndim == 1:
            return found
        return np.asarray(found[start // tensor.shape[-2]], np.float32)

    def _note(self, name: str, error: float, power: float) -> None:
        if error:
            lost = self.lost.setdefault(name, Lost())
            lost.error += error
            lost.power += power

    def _values(self, name: str) -> Floats:
        return _numpy(self._dense[name].read())

    def _packed_rows(self, module: str, *, with_codes: bool = True) -> PackedRows:
        settings = self.packed[module]
        words = _flat(self.tensors[f"{module}.weight"].read()) if with_codes else np.zeros((0, 0), np.uint32)
        scales = self.tensors[f"{module}.scales"].read()
        if settings.get("mode", "affine") != "affine":
            return PackedRows(words, _flat(scales), None, settings)
        biases = _flat(self.tensors[f"{module}.biases"].read().astype(mx.float32))
        return PackedRows(words, _flat(scales.astype(mx.float32)), biases, settings)


def _common(forms: set[Kind | None]) -> Kind | None:
    """A form with a minimum holds groups without one too."""
    for wide, narrow in ((Kind.Q4_1, Kind.Q4_0), (Kind.Q5_1, Kind.Q5_0)):
        if forms == {wide, narrow}:
            return wide
    return None


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _flat(array: mx.array) -> Array:
    return np.asarray(array.reshape(-1, array.shape[-1]))


def _numpy(array: mx.array) -> Floats:
    return np.asarray(array.astype(mx.float32))


def _joined(parts: Sequence[PackedRows]) -> PackedRows:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    biases = [each.biases for each in parts if each.biases is not None]
    return PackedRows(
        np.concatenate([each.words for each in parts]),
        np.concatenate([each.scales for each in parts]),
        np.concatenate(biases) if biases else None,
        first.settings,
    )


def _order(placed: PlacedTensors) -> Indices | None:
    """Which row of the network's each stored row is; None where they are in one order."""
    rows = placed.placement.rule.rows
    return None if rows is None else np.argsort(rows.indices(placed.sizes))


def _slices(stored: Sequence[StoredLayout]) -> Iterator[tuple[StoredLayout, int, int]]:
    """Yield (tensor, first row, row behind the last) of slices, rows counted through all tensors."""
    begin = 0
    for tensor in stored:
        rows = math.prod(tensor.shape[:-1])
        # No slice of two experts, which have importances of their own.
        inner = tensor.shape[-2] if len(tensor.shape) > 2 else rows
        step = min(max(1, SLICE_VALUES // tensor.shape[-1]), max(1, inner))
        for first in range(0, rows, max(1, inner)):
            for start in range(first, min(first + inner, rows), step):
                yield tensor, begin + start, begin + min(start + step, first + inner, rows)
        begin += rows
