"""The contract between a packing and the converter: stored tensors and settings in, plain or MLX-packed tensors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx

from edgelm.errors import FormatError
from edgelm.quant.scheme import Settings, mode_of
from edgelm.zoo.weights.safetensors_header import read_metadata
from edgelm_converters.sources.checkpoint import LazyTensor

LOSSLESS: Settings = {"group_size": 64, "bits": 8, "mode": "affine"}
"""What an 8-bit float is requantized to: it adds no measurable loss."""

LOSSLESS_FOR_4_BITS: Settings = {"group_size": 64, "bits": 6, "mode": "affine"}
"""The same for codes of up to 4 bits: 0.0005 of the weights' variance, beside their own 0.008 or more."""

SCALE_DTYPES = (mx.float32, mx.float16, mx.bfloat16)


@dataclass(frozen=True)
class PackedSource:
    """A checkpoint as it lies there: nothing is unpacked, and nothing but headers has been read."""

    tensors: Mapping[str, LazyTensor]
    """By their published names; 8-bit floats come as bytes, and `stored_as` is what the header calls them."""
    settings: Mapping[str, Any]
    """The `quantization_config`, wherever the checkpoint keeps it; empty if it has none. Nobody vouches for it."""
    config: Mapping[str, Any]
    """The whole config, as published."""
    where: str
    """What messages call the checkpoint."""
    files: tuple[Path, ...] = ()
    """The weight files, for what their headers say beside tensors."""

    def metadata(self) -> dict[str, str]:
        """Read what the headers of the safetensors files say of themselves; nobody vouches for that either."""
        said: dict[str, str] = {}
        for path in self.files:
            if path.suffix == ".safetensors":
                said.update(read_metadata(path))
        return said

    @property
    def method(self) -> str:
        """Return the `quant_method` in lower case, "" if the settings have none."""
        return str(self.settings.get("quant_method") or "").lower().replace("_", "-")

    def of_modules(self, *marks: str) -> dict[str, dict[str, LazyTensor]]:
        """Return the tensors of every module with one of the `marks` ("qweight"), by module path, then by last name."""
        parts: dict[str, dict[str, LazyTensor]] = {}
        for name, tensor in self.tensors.items():
            path, _, last = name.rpartition(".")
            parts.setdefault(path, {})[last] = tensor
        return {path: named for path, named in parts.items() if any(mark in named for mark in marks)}

    def refuse(self, path: str, problem: str) -> FormatError:
        """Return the error for a module whose tensors do not fit together."""
        return FormatError(
            f"{self.where}: the packed tensors of {path} {problem}",
            hint="the file is damaged, or its quantization_config belongs to another one",
        )


@dataclass
class Presented:
    """What a format has made of a checkpoint. Tensors that it does not touch are passed on by `present`."""

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    quantization: dict[str, Settings] = field(default_factory=dict)
    requantized: dict[str, Settings] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences for the receipt, without a full stop: what was kept, what it costs."""
    used: set[str] = field(default_factory=set)
    """Stored tensors that stand for others now, and are not passed on."""

    def keep(
        self, path: str, weight: LazyTensor, scales: LazyTensor, biases: LazyTensor | None, settings: Settings
    ) -> None:
        """Present a module as MLX packs it, code for code.

        Args:
            weight: uint32 [..., O, I * bits / 32], a little-endian bit stream of codes along a row.
            scales: [..., O, I / group].
            biases: the same, in the dtype of the scales, or in float32 where only that is exact (they are then rounded to
                the dtype of the scales where the codes are kept, and are exact where they are not); None in a block mode.
            settings: group_size, bits and mode.
        """
        self.tensors[f"{path}.weight"] = weight
        self.tensors[f"{path}.scales"] = scales
        if biases is not None:
            self.tensors[f"{path}.biases"] = biases
        self.quantization[path] = {"mode": mode_of(settings), **settings}

    def unpack(
        self,
        name: str,
        shape: tuple[int, ...],
        read: Callable[[], mx.array],
        stored_as: str,
        requantize: Settings | None = LOSSLESS,
        read_rows: Callable[[int, int], mx.array] | None = None,
    ) -> None:
        """Present a weight by its values.

        Args:
            name: of the plain tensor: "X.weight", or "experts.gate_up_proj" where that has no last name of its own.
            shape: of what `read` returns, in float32.
            stored_as: what the receipt calls it: "FP8", "NF4".
            requantize: settings that add no measurable loss; None leaves it unquantized where nothing is asked for.
            read_rows: gives rows of the first axis alone, which keeps memory small, where the stored form allows it.
        """
        self.tensors[name] = LazyTensor(shape, mx.float32, read, stored_as, read_rows=read_rows)
        if requantize is not None:
            self.requantized[name.removesuffix(".weight")] = dict(requantize)


class PackedFormat(Protocol):
    """One family of packings. Stateless; a reading that lies is refused by an `EdgeLMError`, never by another exception."""

    name: str
    """As the receipt says it: "GPTQ"."""

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether `present` reads this checkpoint. The first that does is used."""
        ...

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every packed module into `result`, and the names of all tensors that it was made of into `result.used`.

        Shapes and types are checked here, against headers and settings; values when they are read. Whatever `read`
        returns has the shape that was announced, takes memory in proportion to the stored bytes, and is not kept.

        Raises:
            FormatError: tensors or settings that do not fit together.
            UnsupportedError: a variant that is not read, by name, in one line.
        """
        ...


def lazily(
    function: Callable[..., mx.array],
    shape: tuple[int, ...],
    dtype: mx.Dtype,
    *given: LazyTensor,
    stored_as: str | None = None,
) -> LazyTensor:
    """Return the tensor that `function` makes of the arrays of `given`, each read when it is."""

    def read() -> mx.array:
        return function(*(tensor.read() for tensor in given))

    return LazyTensor(shape, dtype, read, given[0].stored_as if stored_as is None else stored_as)


__all__ = ["LOSSLESS", "SCALE_DTYPES", "PackedFormat", "PackedSource", "Presented", "lazily"]
