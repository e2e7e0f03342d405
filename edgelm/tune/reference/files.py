"""The files of a reference: one once it is whole, and parts of it until then, each written wholly or not at all.

NAME.safetensors       float32 numbers of all targets in order; its metadata say of which weights and which data
NAME-parts/            FIRST-END.npy: the numbers of those batches, with the same binding in `binding.json`
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from edgelm.atomic import atomic_file, atomic_write
from edgelm.errors import FormatError
from edgelm.json_files import read_json

Binding = Mapping[str, str]
"""What the numbers hold for: hashes of weights and data, by name."""
Numbers = np.ndarray[Any, np.dtype[np.float32]]

_VALUES = "values"
_BINDING = "binding.json"
_PART = re.compile(r"(\d+)-(\d+)\.npy")


class ReferenceFiles:
    """The numbers of one dataset on the disk.

    Args:
        directory: of the reference.
        name: of the dataset.
        binding: what they have to be of.
        layout: names which rows are in which batch, since parts are of batches.
    """

    def __init__(self, directory: Path, name: str, binding: Binding, layout: str) -> None:
        self._whole = directory / f"{name}.safetensors"
        self._parts = directory / f"{name}-{layout}-parts"
        self._binding = dict(binding)

    def read(self, count: int) -> Numbers | None:
        """Return all `count` numbers; None where they are not whole yet.

        Raises:
            FormatError: they are of other weights or other data, or broken.
        """
        if not self._whole.exists():
            return None
        try:
            with safe_open(self._whole, framework="np") as file:
                self._check(file.metadata() or {}, self._whole)
                values: Numbers = file.get_tensor(_VALUES)
        except SafetensorError as error:
            raise FormatError(f"{self._whole} cannot be read: {error}", hint=_hint(self._whole)) from error
        if values.shape != (count,):
            raise FormatError(
                f"{self._whole} holds {values.size} numbers, expected {count}", hint=_hint(self._whole)
            )
        return values

    def read_parts(self) -> dict[int, tuple[int, Numbers]]:
        """Return by its first batch every part that was finished: (the batch after its last, numbers).

        Raises:
            FormatError: they are of other weights or other data.
        """
        if not (self._parts / _BINDING).exists():
            return {}
        self._check(read_json(self._parts / _BINDING), self._parts)
        found = {path: _PART.fullmatch(path.name) for path in self._parts.iterdir()}
        return {int(m[1]): (int(m[2]), np.load(path, allow_pickle=False)) for path, m in found.items() if m}

    def add_part(self, first: int, end: int, values: Numbers) -> None:
        """Keep the numbers of batches `first` to `end` - 1.

        Raises:
            OutputError: the disk refuses.
        """
        if not (self._parts / _BINDING).exists():
            atomic_write(self._parts / _BINDING, json.dumps(self._binding))
        with atomic_file(self._parts / f"{first:08d}-{end:08d}.npy") as partial:
            np.save(partial, values)

    def write(self, values: Numbers) -> None:
        """Keep all numbers, in place of the parts.

        Raises:
            OutputError: the disk refuses.
        """
        with atomic_file(self._whole) as partial:
            save_file({_VALUES: values}, partial, metadata=self._binding)
        shutil.rmtree(self._parts, ignore_errors=True)

    def _check(self, stated: Mapping[str, Any], path: Path) -> None:
        for key, wanted in self._binding.items():
            if stated.get(key) != wanted:
                raise FormatError(
                    f"the reference in {path} is of another {key} ({str(stated.get(key))[:12]}, now {wanted[:12]})",
                    hint=_hint(path),
                )


def _hint(path: Path) -> str:
    return f"remove {path.parent}, and it is computed again"
