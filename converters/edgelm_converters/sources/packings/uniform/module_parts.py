"""The tensors of one packed module, asked for by name and checked against what a format says they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from edgelm.errors import FormatError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.packed_format import SCALE_DTYPES, PackedSource
from edgelm_converters.sources.packings.uniform.streams import STORED_BITS

INTEGERS = (mx.int8, mx.uint8, mx.int16, mx.uint16, mx.int32, mx.uint32, mx.int64, mx.uint64)
TRANSPOSED = {"gpt2": ("c_attn", "c_proj", "c_fc", "q_attn")}
"""Architecture → modules whose plain weights are published as [inputs, outputs] (transformers' `Conv1D`)."""


def is_transposed(source: PackedSource, path: str) -> bool:
    """Tell whether the architecture publishes the plain weight of the module at `path` as [inputs, outputs].

    Packed, it lies as every other one, [outputs, inputs]: the tools transpose it first.
    """
    return path.rpartition(".")[2] in TRANSPOSED.get(str(source.config.get("model_type")), ())


def scale_dtype(source: PackedSource) -> mx.Dtype:
    """Return the dtype of most of the checkpoint's unpacked floats, by their bytes: scales in float32 join it.

    Where everything is packed, the one that the config names.

    A wider scale would make MLX compute everything after it in float32.
    """
    sizes: dict[mx.Dtype, int] = {}
    for name, tensor in source.tensors.items():
        if name.endswith((".weight", ".bias")) and tensor.dtype in (mx.float32, mx.float16, mx.bfloat16):
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.nbytes
    said = str(source.config.get("dtype") or source.config.get("torch_dtype")).removeprefix("torch.")
    usual = {"float32": mx.float32, "bfloat16": mx.bfloat16}.get(said, mx.float16)
    return max(sizes, key=lambda dtype: sizes[dtype], default=usual)


@dataclass(frozen=True)
class ModuleParts:
    """What a checkpoint has of the module at `path`, by the last name of each tensor."""

    source: PackedSource
    path: str
    tensors: Mapping[str, LazyTensor]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def refuse(self, problem: str) -> FormatError:
        """Return the error for tensors that do not fit together."""
        return self.source.refuse(self.path, problem)

    def names(self, *lasts: str) -> set[str]:
        """Return the full names of those of the parts that there are."""
        return {f"{self.path}.{last}" if self.path else last for last in lasts if last in self.tensors}

    def take(self, name: str, dtypes: tuple[mx.Dtype, ...], dimensions: int | None) -> LazyTensor:
        """Return a part of one of `dtypes`, with that many dimensions, none of them empty.

        Raises:
            FormatError: it is missing or another one.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise self.refuse(f"lack {name}")
        fits = dimensions is None or len(tensor.shape) == dimensions
        if tensor.dtype not in dtypes or not fits or 0 in tensor.shape:
            shown = f"{name} of {tensor.stored_as or tensor.dtype} {list(tensor.shape)}"
            raise self.refuse(
                f"have a {shown}, expected {dimensions or 'any'} dimensions of {_named(dtypes)}"
            )
        return tensor

    def words(self, name: str, dimensions: int | None = None) -> LazyTensor:
        """Return a part of 32-bit integers."""
        return self.take(name, (mx.int32, mx.uint32), dimensions)

    def floats(self, name: str, dimensions: int | None = None) -> LazyTensor:
        """Return a part of floats."""
        return self.take(name, SCALE_DTYPES, dimensions)

    def integers(self, name: str) -> npt.NDArray[np.integer]:
        """Read a small part of integers."""
        tensor = self.take(name, INTEGERS, None)
        return np.array(tensor.read())

    def number(self, name: str) -> Any:
        """Read a part that holds one number.

        Raises:
            FormatError: it holds more or none.
        """
        tensor = self.take(name, (*INTEGERS, *SCALE_DTYPES, mx.bool_), None)
        if tensor.nbytes != tensor.dtype.size:
            raise self.refuse(f"have a {name} of {list(tensor.shape)}, expected one number")
        return tensor.read().item()

    def bits(self) -> int:
        """Return the width that the settings give.

        Raises:
            FormatError: they give none that is known.
        """
        said = self.source.settings.get("bits", self.source.settings.get("w_bit"))
        return self.checked_bits(said)

    def checked_bits(self, bits: Any) -> int:
        """Return `bits` if it is a width of codes.

        Raises:
            FormatError: it is none.
        """
        if isinstance(bits, bool) or bits not in STORED_BITS:
            raise self.refuse(f"are packed with {bits!r:.40} bits, expected 1 to 8")
        return int(bits)

    def group_size(self, columns: int, groups: int) -> int:
        """Return how many of `columns` share a scale: as the settings say if that gives `groups`, else evenly.

        Raises:
            FormatError: neither fits.
        """
        said = self.source.settings.get("group_size", self.source.settings.get("q_group_size"))
        if isinstance(said, int) and said > 0 and -(-columns // said) == groups:
            return said
        if columns % groups:
            raise self.refuse(
                f"have {groups} groups for {columns} inputs, expected a group size that divides them"
            )
        return columns // groups


def _named(dtypes: tuple[mx.Dtype, ...]) -> str:
    return " or ".join(str(dtype).removeprefix("mlx.core.") for dtype in dtypes)
