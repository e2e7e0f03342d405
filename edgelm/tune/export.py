"""Trained weights to an adapter directory that stock mlx-lm loads, bound to its base.

Where patterns gave some modules another rank, see `edgelm.adapters.uniform`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.adapters.files import AdapterConfig, write_adapter
from edgelm.adapters.uniform import rank_of, uniform
from edgelm.atomic import atomic_directory
from edgelm.library.identity import weights_identity
from edgelm.library.licence import licence_of
from edgelm.library.manifest import Manifest
from edgelm.quant.tree import flat_arrays
from edgelm.tune.settings import MethodSettings
from edgelm.zoo.config import normalise_config, read_config


@dataclass(frozen=True)
class Base:
    """The model that was trained on."""

    name: str
    source: str
    sha256: str
    """Its `weights_identity`."""
    licence: str | None
    num_layers: int

    def as_parent(self) -> dict[str, Any]:
        """What the manifest of something built on it says of it."""
        return {
            "relation": "base",
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "licence": self.licence,
        }


def describe_base(model: Path) -> Base:
    """The model in a directory.

    Raises:
        NotFoundError, FormatError: there is none, or it is broken.
    """
    config = normalise_config(read_config(model))
    text = config.get("text_config") or config
    return Base(
        name=model.absolute().name,
        source=os.path.normpath(model.absolute()),
        sha256=weights_identity(model),
        licence=licence_of(model),
        num_layers=int(text.get("num_hidden_layers") or -1),
    )


def export_adapter(
    directory: Path, parameters: Any, settings: MethodSettings, base: Base, receipt: dict[str, Any]
) -> None:
    """Write a new directory, whole or not at all.

    Raises:
        OutputError: it exists, or the disk refuses.
    """
    flat = flat_arrays(parameters)
    config = AdapterConfig(
        kind={"rslora": "lora"}.get(settings.method, settings.method),
        rank=rank_of(flat),
        scale=settings.scale_of(""),
        dropout=settings.dropout,
        method=settings.method,
        alpha=settings.alpha if settings.alpha is not None else 2.0 * settings.rank,
        base_sha256=base.sha256,
        base=base.source,
        num_layers=base.num_layers,
    )
    parent = base.as_parent()
    manifest = Manifest(
        source=base.source,
        kind="adapter",
        licence=base.licence,
        recipe={"method": settings.method, "rank": config.rank, "scale": config.scale},
        receipt=receipt,
        parents=[parent],
    )
    with atomic_directory(directory) as partial:
        write_adapter(partial, config, uniform(flat, settings.scale_of, config.scale), manifest)
