"""The layers that a calibrated conversion has finished, on disk, so that a killed one goes on where it was.

A hidden sibling of the output, one safetensors file per finished part, each written aside and renamed. A
fingerprint says what they were made from; files of another source, text or setting are thrown away.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.atomic import atomic_write, disk_errors
from edgelm.errors import FormatError
from edgelm.quant.layers.layerwise import LayerResult, ModuleOutcome
from edgelm.zoo.weights.safetensors_header import read_header

FINGERPRINT = "fingerprint.json"
DISTILLED = "distilled"
"""The part that holds trained scales, biases and norms."""


def work_directory(target: Path) -> Path:
    """Name the directory for finished layers of the conversion to `target`."""
    return target.with_name(f".{target.name}.layers")


class LayerFiles:
    """The finished parts ("layer-0003", "embedding", …) under `directory`, which is made with the first of them."""

    def __init__(self, directory: Path, made_from: dict[str, Any]) -> None:
        self.directory = directory
        digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        self._said = json.dumps({"sha256": digest, **made_from}, indent=2, sort_keys=True)
        path = directory / FINGERPRINT
        if directory.exists() and (not path.is_file() or path.read_text(encoding="utf-8") != self._said):
            with disk_errors(directory):
                shutil.rmtree(directory)
        self._where: dict[str, Path] = {}

    def put(self, part: str, result: LayerResult, notes: Mapping[str, Any] | None = None) -> None:
        """Keep a finished part, with `notes` of JSON's types; once this returns it survives a kill and a power cut."""
        self._where.clear()
        self._begin()
        path = self._path(part)
        partial = path.with_name(f".{path.name}")
        metadata = {
            "outcomes": json.dumps([vars(outcome) for outcome in result.outcomes]),
            "notes": json.dumps(dict(notes or {})),
        }
        with disk_errors(path):
            try:
                mx.save_safetensors(str(partial), result.arrays, metadata)
            except RuntimeError as error:
                raise OSError(str(error)) from error
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)

    def _begin(self) -> None:
        with disk_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        fingerprint = self.directory / FINGERPRINT
        if not fingerprint.exists():
            atomic_write(fingerprint, self._said)

    def get(self, part: str) -> LayerResult | None:
        """Read a part that was finished before; None if it was not."""
        loaded = self._load(part)
        if loaded is None:
            return None
        arrays, metadata = loaded
        return LayerResult(arrays, [ModuleOutcome(**outcome) for outcome in json.loads(metadata["outcomes"])])

    def notes(self, part: str) -> dict[str, Any] | None:
        """Read what was noted with a part that was finished before; None if it was not."""
        loaded = self._load(part)
        return None if loaded is None else dict(json.loads(loaded[1]["notes"]))

    def _load(self, part: str) -> tuple[dict[str, mx.array], dict[str, str]] | None:
        path = self._path(part)
        if not path.exists():
            return None
        read_header(path)
        try:
            loaded: Any = mx.load(str(path), return_metadata=True)
        except RuntimeError as error:
            raise FormatError(f"{path} is broken: {error}", hint=f"remove {self.directory}") from error
        found: tuple[dict[str, mx.array], dict[str, str]] = loaded
        return found

    def packed(self, module: str) -> dict[str, mx.array]:
        """Read the packed parameters of a module of any finished part."""
        where = self._index()
        kinds = [kind for kind in ("weight", "scales", "biases") if f"{module}.{kind}" in where]
        return {kind: self.read(f"{module}.{kind}") for kind in kinds}

    def read(self, name: str) -> mx.array:
        """Read one array of any finished part."""
        loaded: Any = mx.load(str(self._index()[name]))
        array: mx.array = loaded[name]
        return array

    def _index(self) -> dict[str, Path]:
        """Name → file; what distillation trained takes the place of what it started from."""
        if not self._where:
            paths = sorted(self.directory.glob("[!.]*.safetensors"), key=lambda path: path.stem == DISTILLED)
            for path in paths:
                self._where.update(dict.fromkeys(read_header(path), path))
        return self._where

    def remove(self) -> None:
        """Forget everything: the conversion is done."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _path(self, part: str) -> Path:
        return self.directory / f"{part}.safetensors"
