"""Trained weights to an adapter directory that stock mlx-lm loads, bound to its base.

Where patterns gave some modules another rank, see `edgelm.adapters.uniform`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from edgelm.adapters.base import AdapterBase
from edgelm.adapters.files import REWARD, AdapterConfig, write_adapter
from edgelm.adapters.scoring.head import SCORE_WEIGHT
from edgelm.adapters.uniform import rank_of, uniform
from edgelm.atomic import atomic_directory
from edgelm.library.manifest import Manifest
from edgelm.zoo.tree import flat_arrays


class AdapterMethod(Protocol):
    """How an adapter is trained, as far as its files tell: what the settings of a training run's method have."""

    @property
    def method(self) -> str:
        """Return "lora", "dora", "rslora" or "full"."""

    @property
    def rank(self) -> int:
        """Return the rank where no pattern gives another."""

    @property
    def alpha(self) -> float | None:
        """Return LoRA's alpha; None is twice the rank."""

    @property
    def dropout(self) -> float:
        """Return the share of inputs that training dropped."""

    def scale_of(self, path: str) -> float:
        """Return what the adapter's output is multiplied by on the module at `path`; "" is where no pattern matches."""


def export_adapter(
    directory: Path,
    parameters: Any,
    settings: AdapterMethod,
    base: AdapterBase,
    receipt: dict[str, Any],
    *,
    template_sha256: str | None = None,
) -> None:
    """Write a new directory, whole or not at all; weights with a scalar head among them are a reward model's.

    Args:
        template_sha256: of the template that a reward model reads answers in.

    Raises:
        OutputError: it exists, or the disk refuses.
    """
    flat = flat_arrays(parameters)
    score = {name: flat.pop(name) for name in (SCORE_WEIGHT,) if name in flat}
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
        task=REWARD if score else None,
        template_sha256=template_sha256 if score else None,
    )
    parent = base.as_parent()
    manifest = Manifest(
        source=base.source,
        kind="adapter",
        licence=base.licence,
        recipe={
            "method": settings.method,
            "rank": config.rank,
            "scale": config.scale,
            **({"task": REWARD} if score else {}),
        },
        receipt=receipt,
        parents=[parent],
    )
    with atomic_directory(directory) as partial:
        write_adapter(partial, config, uniform(flat, settings.scale_of, config.scale), manifest, score)
