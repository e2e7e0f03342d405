"""Trained weights to an adapter directory that stock mlx-lm loads, bound to its base.

mlx-lm's format has one rank and one scale for all modules: where patterns gave some another rank, the smaller ones are
filled with zeros, and a different scale is multiplied into `lora_b`. Neither changes what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from edgelm.atomic import atomic_directory
from edgelm.model.adapters.files import AdapterConfig, write_adapter
from edgelm.model.manifest import Manifest
from edgelm.quant.tree import flat_arrays
from edgelm.tune.settings import MethodSettings

_RANK_AXIS = 1
"""Of `lora_a`: `[I, R]`, or `[E, R, I]` for experts."""


@dataclass(frozen=True)
class Base:
    """The model that was trained on."""

    name: str
    source: str
    sha256: str
    """Its `weights_identity`."""
    licence: str | None
    num_layers: int


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
        rank=max(
            (value.shape[_RANK_AXIS] for name, value in flat.items() if name.endswith(".lora_a")), default=0
        ),
        scale=_shared_scale(settings),
        dropout=settings.dropout,
        method=settings.method,
        alpha=settings.alpha if settings.alpha is not None else 2.0 * settings.rank,
        base_sha256=base.sha256,
        base=base.source,
        num_layers=base.num_layers,
    )
    parent = {"relation": "base", "source": base.name, "sha256": base.sha256, "licence": base.licence}
    manifest = Manifest(
        source=base.name,
        kind="adapter",
        licence=base.licence,
        recipe={"method": settings.method, "rank": config.rank, "scale": config.scale},
        receipt=receipt,
        parents=[parent],
    )
    with atomic_directory(directory) as partial:
        write_adapter(partial, config, uniform(flat, settings, config.rank), manifest)


def uniform(flat: dict[str, mx.array], settings: MethodSettings, rank: int) -> dict[str, mx.array]:
    """The same adapters with one rank and one scale."""
    if settings.method == "full" or not settings.ranks:
        return flat
    shared = _shared_scale(settings)
    return {name: _uniform(name, value, settings, rank, shared) for name, value in flat.items()}


def _uniform(name: str, value: mx.array, settings: MethodSettings, rank: int, shared: float) -> mx.array:
    module, _, leaf = name.rpartition(".")
    if leaf == "m":
        return value
    axis = _RANK_AXIS if leaf == "lora_a" else (2 if value.ndim == 3 else 0)
    if leaf == "lora_b":
        value = value * (settings.scale_of(module) / shared)
    missing = rank - value.shape[axis]
    widths = [(0, missing if index == axis else 0) for index in range(value.ndim)]
    return mx.pad(value, widths) if missing else value


def _shared_scale(settings: MethodSettings) -> float:
    """That of a module that no pattern names."""
    return settings.scale_of("")
