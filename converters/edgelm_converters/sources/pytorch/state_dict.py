"""The state dict of a file, as named lazy tensors.

A tensor is read from its own bytes only, each time anew. float64 becomes float32 (MLX has no float64 on
the GPU); every other type is kept. Knows nothing of models or of tensor names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.errors import FormatError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.pytorch.archive import Archive, read_archive
from edgelm_converters.sources.pytorch.tensors import TensorView
from edgelm_converters.sources.pytorch.unpickle import shorten

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts keep the weights beside other things."""


def open_state_dict(path: Path) -> dict[str, LazyTensor]:
    """Open the tensors of the PyTorch file at `path`; nothing but its pickle is read.

    Raises:
        NotFoundError, UnsafeError, UnsupportedError, FormatError: as `read_archive`; FormatError also
            where the file holds no tensors, or more than one set of them.
    """
    archive = read_archive(path)
    return {name: lazy_tensor(view, archive) for name, view in find_views(archive).items()}


def find_views(archive: Archive) -> dict[str, TensorView]:
    """Find the named tensors: at the top, or under one of `WRAPPERS`. Whatever is no tensor is left out.

    Raises:
        FormatError: there are none, or there are several sets of them.
    """
    value = archive.value
    top = _tensors_of(value)
    wrapped = [key for key in WRAPPERS if isinstance(value, dict) and _tensors_of(value.get(key))]
    if len(wrapped) + bool(top) != 1 or not isinstance(value, dict):
        raise FormatError(_explain(archive.path, bool(top), wrapped))
    found = top or _tensors_of(value[wrapped[0]])
    for name in found:
        if not isinstance(name, str):
            raise FormatError(f"{archive.path} has a tensor named {name!r}, expected text")
    return found


def _tensors_of(value: object) -> dict[str, TensorView]:
    if not isinstance(value, dict):
        return {}
    return {key: item for key, item in value.items() if isinstance(item, TensorView)}


def _explain(path: Path, at_top: bool, wrapped: list[str]) -> str:
    if not at_top and not wrapped:
        return f"{path} holds no tensors by name, at its top or under {' or '.join(map(repr, WRAPPERS))}"
    places = ["its top"] * at_top + [repr(key) for key in wrapped]
    return f"{path} holds tensors at {' and at '.join(places)}, expected one state dict"


def lazy_tensor(view: TensorView, archive: Archive) -> LazyTensor:
    """Make `view` of the file of `archive` a tensor that is not yet read."""
    begin = archive.begins[view.storage.key] + view.offset * view.element.size_bytes
    read = partial(_read, archive.path, begin, view)
    return LazyTensor(view.shape, view.element.dtype, read, stored_as=view.element.name)


def _read(path: Path, begin: int, view: TensorView) -> mx.array:
    if view.count == 0:
        return mx.zeros(view.shape, view.element.dtype)
    return _to_mlx(_read_elements(path, begin, view), view.element.dtype)


def _read_elements(path: Path, begin: int, view: TensorView) -> npt.NDArray[Any]:
    """Array of the shape of `view`, as stored.

    Strided views are gathered from a mapping of the file, so that a few elements spread over a large
    storage cost no more memory than they take.
    """
    stored = np.dtype(view.element.stored)
    try:
        if view.is_contiguous:
            flat = np.fromfile(path, stored, view.count, offset=begin)
        else:
            flat = np.memmap(path, stored, mode="r", offset=begin, shape=(view.extent,))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read at byte {begin}: {error}") from error
    if flat.size < min(view.count, view.extent):
        raise FormatError(
            f"{path} ends before byte {begin + view.extent * stored.itemsize}, which it had when opened"
        )
    if view.is_contiguous:
        return flat.reshape(view.shape)
    strides = [stride * stored.itemsize for stride in view.strides]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, view.shape, strides, writeable=False))


def _to_mlx(values: npt.NDArray[Any], dtype: mx.Dtype) -> mx.array:
    if dtype == mx.bfloat16:
        return mx.array(values).view(mx.bfloat16)
    if dtype == mx.bool_:
        return mx.array(values != 0)
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):  # beyond float32: infinite, as torch's own cast has it
            return mx.array(values.astype(np.float32))
    return mx.array(values)


def describe_names(names: Mapping[str, object] | set[str], limit: int = 3) -> str:
    """List the first few of `names`, sorted, for a message."""
    first = sorted(names)[:limit]
    rest = len(names) - len(first)
    return ", ".join(shorten(repr(name), 80) for name in first) + (f" and {rest} more" if rest else "")
