"""What a pickle of torch's may ask for: storages, dtypes and the functions that rebuild a tensor.

Each allowed global is a name for one of our own values; torch is not needed and not imported. A tensor
is described, not read: which storage, from which element on, with what shape and strides. Whatever is
described lies within its storage.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from edgelm_converters.sources.pytorch.opcodes import MalformedError
from edgelm_converters.sources.pytorch.unpickle import Constructor, describe

MAX_COUNT = 1 << 48
MAX_DIMENSIONS = 16
MAX_EXPANDED = 1 << 20
"""Elements of a tensor that repeats its storage (`torch.Tensor.expand`); more would be a memory bomb."""


@dataclass(frozen=True, slots=True)
class ElementType:
    """A torch dtype, how numpy reads its bytes and what it becomes in MLX."""

    name: str
    size_bytes: int
    stored: str
    """A little-endian numpy type of the same size; bfloat16 is read as the bits of a uint16."""
    dtype: mx.Dtype


_F64 = ElementType("torch.float64", 8, "<f8", mx.float32)  # MLX has no float64 on the GPU
_ELEMENTS = {
    "Float": ElementType("torch.float32", 4, "<f4", mx.float32),
    "Half": ElementType("torch.float16", 2, "<f2", mx.float16),
    "BFloat16": ElementType("torch.bfloat16", 2, "<u2", mx.bfloat16),
    "Double": _F64,
    "Long": ElementType("torch.int64", 8, "<i8", mx.int64),
    "Int": ElementType("torch.int32", 4, "<i4", mx.int32),
    "Short": ElementType("torch.int16", 2, "<i2", mx.int16),
    "Char": ElementType("torch.int8", 1, "|i1", mx.int8),
    "Byte": ElementType("torch.uint8", 1, "|u1", mx.uint8),
    "Bool": ElementType("torch.bool", 1, "|u1", mx.bool_),
}
"""By the name of the storage class."""
_UNSIGNED = (
    ElementType("torch.uint16", 2, "<u2", mx.uint16),
    ElementType("torch.uint32", 4, "<u4", mx.uint32),
    ElementType("torch.uint64", 8, "<u8", mx.uint64),
)
"""Without a storage class: torch keeps them in untyped storages."""


@dataclass(frozen=True, slots=True)
class StorageType:
    """A storage class; untyped ones (None) count bytes."""

    element: ElementType | None

    @property
    def unit_bytes(self) -> int:
        """Bytes of what a storage counts: an element, or one byte."""
        return self.element.size_bytes if self.element else 1


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of bytes in the file, by its key."""

    key: str
    kind: StorageType
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TensorView:
    """A tensor: `strides` and `offset` count elements from the start of its storage."""

    storage: Storage
    element: ElementType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def count(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.shape)

    @property
    def extent(self) -> int:
        """Elements of the storage from its first element to its last."""
        if self.count == 0:
            return 0
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in the file in row-major order, without gaps."""
        step = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != step:
                return False
            step *= length
        return True


def read_storage_id(value: object) -> Storage:
    """Read the storage that a persistent id stands for: ("storage", class, key, device, count[, view]).

    Raises:
        MalformedError: it is anything else.
    """
    if not isinstance(value, tuple) or len(value) not in (5, 6) or value[0] != "storage":
        raise MalformedError(f"{describe(value)} as a persistent id, expected a storage")
    kind, key, count = value[1], value[2], value[4]
    if not isinstance(kind, StorageType) or not isinstance(key, str) or not _is_count(count):
        raise MalformedError(f"storage {describe(key)} with {describe(count)} elements")
    if len(value) == 6 and value[5] is not None:
        raise MalformedError(f"storage {describe(key)} is a view of another, as before torch 0.4")
    return Storage(key, kind, count * kind.unit_bytes)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < MAX_COUNT


def _counts(value: object, what: str) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS or not all(map(_is_count, value)):
        raise MalformedError(
            f"{describe(value)} as the {what} of a tensor, expected up to {MAX_DIMENSIONS} counts"
        )
    return value


def _rebuild(arguments: tuple[Any, ...], element: ElementType | None) -> TensorView:
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage):
        raise MalformedError(f"a tensor whose storage is {describe(storage)}")
    element = element or storage.kind.element
    if element is None:
        raise MalformedError(f"a tensor in storage {storage.key!r} has no dtype")
    view = TensorView(storage, element, offset, _counts(shape, "shape"), _counts(strides, "strides"))
    _check(view)
    return view


def _check(view: TensorView) -> None:
    if not _is_count(view.offset) or len(view.shape) != len(view.strides):
        raise MalformedError(
            f"a tensor of shape {view.shape}, strides {view.strides}, offset {describe(view.offset)}"
        )
    held = view.storage.size_bytes // view.element.size_bytes
    if view.offset + view.extent > held:
        raise MalformedError(
            f"a tensor of shape {view.shape}, strides {view.strides} and offset {view.offset} "
            f"needs {view.offset + view.extent} elements, but storage {view.storage.key!r} holds {held}"
        )
    if view.count > max(held, MAX_EXPANDED):
        raise MalformedError(f"a tensor of shape {view.shape} repeats the {held} elements of its storage")


def _tensor(arguments: tuple[Any, ...]) -> TensorView:
    """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])`."""
    _expect(arguments, 6, 7)
    _refuse_metadata(arguments[6:])
    return _rebuild(arguments, None)


def _typed_tensor(arguments: tuple[Any, ...]) -> TensorView:
    """`_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])`."""
    _expect(arguments, 7, 8)
    _refuse_metadata(arguments[7:])
    if not isinstance(arguments[6], ElementType):
        raise MalformedError(f"a tensor whose dtype is {describe(arguments[6])}")
    return _rebuild(arguments, arguments[6])


def _refuse_metadata(rest: tuple[Any, ...]) -> None:
    if rest and rest[0]:
        raise MalformedError("a tensor that is a conjugate or negative view")


def _parameter(arguments: tuple[Any, ...]) -> TensorView:
    """`_rebuild_parameter(tensor, requires_grad, hooks)`, or with a fourth argument, its attributes."""
    _expect(arguments, 3, 4)
    if not isinstance(arguments[0], TensorView):
        raise MalformedError(f"a parameter whose data is {describe(arguments[0])}")
    return arguments[0]


def _size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    _expect(arguments, 1, 1)
    return _counts(arguments[0], "size")


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[str, object]:
    """Make an empty dictionary, whose items follow; Python 2 passed an empty list."""
    if arguments not in ((), ([],)):
        raise MalformedError("an OrderedDict made from items")
    return {}


def _expect(arguments: tuple[Any, ...], least: int, most: int) -> None:
    if not least <= len(arguments) <= most:
        raise MalformedError(f"a call with {len(arguments)} arguments, expected {least} to {most}")


def _allowed() -> dict[str, object]:
    calls: dict[str, Callable[[tuple[Any, ...]], object]] = {
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _typed_tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch.Size": _size,
        "collections.OrderedDict": _ordered_dict,
    }
    elements = (*_ELEMENTS.values(), *_UNSIGNED)
    return {
        **{name: Constructor(name, build) for name, build in calls.items()},
        **{f"torch.{name}Storage": StorageType(element) for name, element in _ELEMENTS.items()},
        "torch.storage.UntypedStorage": StorageType(None),
        **{element.name: element for element in elements},
    }


ALLOWED = _allowed()
"""Every global that a checkpoint may name, and what it stands for."""
